"""What a run leaves behind: a JSON file with every round, the machine and the code it was measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from tests.bench.dataset import ROOT
from tests.bench.rounds import Results
from tests.bench.stack import Pair
from tests.bench.targets import EXCESSES, IDLE_MIB, RATIOS, START_SECONDS, WATCH_MS, Outcome, Ratio
from tests.bench.usage import resident_mib
from tests.bench.watch_bench import Result


@dataclass(frozen=True)
class Footprint:
    """What the service processes took before the first call: memory in MiB, time to SERVING in s."""

    memory: Mapping[str, float]
    started_in: Mapping[str, float]

    @classmethod
    def of(cls, pair: Pair) -> Footprint:
        """Look at the processes now."""
        servers = {"users": pair.users, "notifications": pair.notifications}
        return cls(
            {name: round(resident_mib(server.pid), 1) for name, server in servers.items()},
            {name: round(server.started_in, 2) for name, server in servers.items()},
        )


def outcomes(results: Results, footprint: Footprint | None) -> list[Outcome]:
    """Return what the run says of each target whose subjects were measured."""
    rates, p50, cpu = results.rates(), results.p50(), results.cpu()
    found = [
        Outcome(ratio.title, "x", ratio.values(rates), ratio.at_least, rising=True, by_cpu=_by_cpu(ratio, cpu))
        for ratio in RATIOS
        if {ratio.subject, ratio.reference} <= rates.keys()
    ]
    found += [
        Outcome(excess.title, "ms", excess.values(p50), excess.at_most, rising=False)
        for excess in EXCESSES
        if excess.subjects <= p50.keys()
    ]
    if footprint is not None:
        for name, memory in footprint.memory.items():
            found.append(Outcome(f"Memory of an idle {name} service", "MiB", [memory], IDLE_MIB, rising=False))
        for name, seconds in footprint.started_in.items():
            found.append(
                Outcome(f"Start of the {name} service to SERVING", "s", [seconds], START_SECONDS, rising=False)
            )
    return found


def watch_outcomes(watched: Result) -> list[Outcome]:
    """Return what the run says of watches; what counts is from the commit on, which comes after the sending."""
    name = f"{watched.watchers:,} watchers, {watched.rate:g} creates/s"
    p99, wrong = watched.sent_to_receipt_p99, float(watched.lost + watched.repeated)
    return [
        Outcome(f"{name}: p99 from sending to receipt", "ms", [p99], WATCH_MS, rising=False),
        Outcome(f"{name}: lost or repeated", "events", [wrong], 0.0, rising=False),
        Outcome("Memory of an idle watcher", "KiB", [watched.kib_per_idle_watcher], None, rising=False),
    ]


def record(
    results: Results, found: Sequence[Outcome], footprint: Footprint | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything as JSON wants it."""
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "grpcio": grpc.__version__,
        },
        "options": dict(options),
        "targets": [
            {
                "title": one.title,
                "unit": one.unit,
                "value": one.value,
                "rounds": list(one.values),
                "bound": one.bound,
                "met": one.met,
                "by_cpu": one.by_cpu,
            }
            for one in found
        ],
        "footprint": None if footprint is None else asdict(footprint),
        "subjects": {key: [asdict(one) for one in many] for key, many in results.by_subject.items()},
    }


def earlier(path: Path) -> dict[str, float]:
    """Return the value of each target in a saved run, by title."""
    return {target["title"]: target["value"] for target in json.loads(path.read_text())["targets"]}


def _by_cpu(ratio: Ratio, cpu: Mapping[str, float]) -> float | None:
    subject, reference = cpu[ratio.subject], cpu[ratio.reference]
    return reference / subject if subject and reference else None


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return shown.stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
