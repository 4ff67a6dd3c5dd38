"""Prometheus' text format (version 0.0.4): writing it, and merging the texts of several processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from chassis.telemetry.families import Distribution, Family, Labels

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def text_of(family: Family) -> str:
    """Write one metric with all its samples."""
    lines = [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
    for labels, value in family.samples:
        if isinstance(value, Distribution):
            lines.extend(_distribution(family.name, labels, value))
        else:
            lines.append(f"{family.name}{_braced(_written(labels))} {_number(value)}")
    return "\n".join(lines) + "\n"


def _distribution(name: str, labels: Labels, value: Distribution) -> Iterator[str]:
    own = _written(labels)
    comma = "," if own else ""
    below = 0
    for bound, count in zip((*map(_number, value.bounds), "+Inf"), value.counts, strict=True):
        below += count
        yield f'{name}_bucket{{{own}{comma}le="{bound}"}} {below}'
    yield f"{name}_sum{_braced(own)} {_number(value.total)}"
    yield f"{name}_count{_braced(own)} {below}"


def _written(labels: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)


def merged(texts: Mapping[str, str], label: str) -> str:
    """Merge texts into one; every sample gets ``label`` with the key of its text.

    The format wants the samples of a metric together, so those of all texts are grouped by metric.
    """
    headers: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for value, text in texts.items():
        for name, header, own in _families(text.splitlines()):
            headers.setdefault(name, header)
            samples.setdefault(name, []).extend(_labelled(line, f'{label}="{_escaped(value)}"') for line in own)
    return "".join("\n".join((*header, *samples[name], "")) for name, header in headers.items())


def _families(lines: Iterable[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the name, the header and the samples of each metric of a text that ``text_of`` wrote."""
    name, header, samples = "", list[str](), list[str]()
    for line in lines:
        if line.startswith("# HELP "):
            if name:
                yield name, header, samples
            name, header, samples = line.split(" ", 3)[2], [line], []
        elif line.startswith("#"):
            header.append(line)
        else:
            samples.append(line)
    if name:
        yield name, header, samples


def _labelled(sample: str, label: str) -> str:
    # Names hold no brace, so the first one begins the labels.
    name, brace, rest = sample.partition("{")
    if brace:
        return f"{name}{{{label},{rest}"
    name, _, value = sample.partition(" ")
    return f"{name}{{{label}}} {value}"
