"""Prometheus' text format, judged by the parser of Prometheus' own client library."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from chassis.telemetry.exposition import merged, text_of
from chassis.telemetry.families import Distribution, Family, by, counter, gauge


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Parse a text; fails where a metric or a sample is in it twice."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    found = [sample for family in families for sample in family.samples]
    parsed = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}
    assert len(parsed) == len(found)
    return parsed


def test_values_arrive_as_they_are() -> None:
    """Whole numbers, fractions, and what is no number at all."""
    values = {"whole": 3.0, "large": 2.0**60, "fraction": 0.1, "endless": math.inf, "below": -math.inf}
    found = samples(text_of(Family("a", "gauge", "Help.", by("kind", values))))
    assert {labels[0][1]: value for (_, labels), value in found.items()} == values
    nothing = samples(text_of(gauge("a", "Help.", math.nan)))
    assert math.isnan(nothing["a", ()])


def test_text_in_labels_is_escaped() -> None:
    """Whatever a label's value is, it ends where it ends."""
    value = 'a "quoted" back\\slash,\nand a } brace'
    assert list(samples(text_of(gauge("a", "Help.", 1, (("label", value),))))) == [("a", (("label", value),))]


def test_a_histogram_counts_what_lies_below_each_bound() -> None:
    """Buckets are cumulative in the format and not in the process."""
    distribution = Distribution((0.5, 1.0), (2, 0, 3), 10.5)
    found = samples(text_of(Family("a", "histogram", "Help.", [((("m", "x"),), distribution)])))
    buckets = {dict(labels)["le"]: value for (name, labels), value in found.items() if name == "a_bucket"}
    assert buckets == {"0.5": 2, "1": 2, "+Inf": 5}
    assert (found["a_sum", (("m", "x"),)], found["a_count", (("m", "x"),)]) == (10.5, 5)


def test_texts_of_several_processes_become_one() -> None:
    """Every sample says which process it is from, and each metric stands in one piece, as the format demands."""
    first = text_of(counter("a_total", "Help.", 1)) + text_of(gauge("b", "Help.", 2, (("c", "d{"),)))
    second = text_of(gauge("b", "Help.", 3)) + text_of(counter("a_total", "Help.", 4))
    found = samples(merged({"0": first, "1": second}, "worker"))
    assert found == {
        ("a_total", (("worker", "0"),)): 1,
        ("a_total", (("worker", "1"),)): 4,
        ("b", (("c", "d{"), ("worker", "0"))): 2,
        ("b", (("worker", "1"),)): 3,
    }


def test_nothing_becomes_nothing() -> None:
    """While no process answers there is no sample, and no error."""
    assert merged({}, "worker") == ""
    assert samples(text_of(Family("a", "counter", "Help.", []))) == {}
