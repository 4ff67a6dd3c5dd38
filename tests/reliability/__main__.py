"""The command behind ``script/fault``."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
from vibework.testing.local.problems import LocalProblem

from script.local.progress import step
from tests.reliability.cluster import running_cluster
from tests.reliability.faults import FAULTS, Fault
from tests.reliability.load.running import loading
from tests.reliability.running import Result, Suite
from tests.reliability.table import reasons, table

MINUTES: Final = 15.0
# What one fault may take beyond the time that it lasts, in seconds: none is begun that might not end in time.
AROUND: Final = 40.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--list", "listing", is_flag=True, help="Show the faults and end.")
@click.option("--only", multiple=True, help="Faults whose names contain this; may be given several times.")
@click.option("--seconds", type=float, default=None, help="How long each fault lasts, in place of its own time.")
@click.option("--minutes", default=MINUTES, show_default=True, help="After which no fault is begun.")
@click.option("--seed", default=0, show_default=True, help="Of the load.")
def main(*, listing: bool, only: tuple[str, ...], seconds: float | None, minutes: float, seed: int) -> None:
    """Runs the pair with two processes of each service on databases of its own, under load, through every fault.

    Prints a table and what is broken, and ends with 0 if all holds, 1 if something is broken, 2 if something is in the
    way, and 3 if faults were left out: the time was too short for all, or no file system can be mounted that is to be
    filled.
    """
    chosen = [each for each in FAULTS if not only or each.name == "none" or any(part in each.name for part in only)]
    if listing:
        click.echo("\n".join(each.name for each in chosen))
        return
    # What ends a shell's command ends what it has started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    end = time.monotonic() + minutes * 60
    try:
        results = _run(chosen, seconds, end, seed)
    except LocalProblem as problem:
        click.echo(f"fault: {problem}\n{problem.detail}", err=True)
        sys.exit(2)
    click.echo(table(results))
    for each in results:
        for text in reasons(each):
            click.echo(f"{each.fault.name}: {text}")
    if any(each.unjudged for each in results):
        click.echo("times are not judged: this machine is so busy that they are not kept without a fault either")
    told = [each.fault for each in results]
    left_out = [each.name for each in chosen if each not in told]
    if left_out:
        click.echo(f"left out, for want of time or of a file system to fill: {', '.join(left_out)}")
    sys.exit(1 if not all(each.holds for each in results) else 3 if left_out else 0)


def _run(chosen: list[Fault], seconds: float | None, end: float, seed: int) -> list[Result]:
    results: list[Result] = []
    prefix = "vibework-faults-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder, ExitStack() as running:
        with step("Starting databases and services"):
            cluster = running.enter_context(running_cluster(Path(folder)))
        suite = Suite(cluster, running.enter_context(loading(*cluster.addresses, seed=seed)), seconds)
        for fault in chosen:
            if fault.fills_disk and not cluster.has_small_disks:
                continue
            if time.monotonic() + fault.seconds + AROUND > end:
                break
            with step(fault.name):
                results.append(suite.run(fault))
            for text in reasons(results[-1]):
                click.echo(f"  {text}", err=True)
    return results


if __name__ == "__main__":
    main()
