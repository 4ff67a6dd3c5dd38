"""The ``policy`` command: what a file of the policy grants, before a server has to live with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from google.protobuf.descriptor import FileDescriptor

from chassis.access.groups import short
from chassis.access.policy import Policy, PolicyRule, PolicyWrong, read
from chassis.commands import cli
from chassis.commands.tables import room, table
from chassis.settings import EXIT_BAD_SETTING, AccessSettings, load

EXIT_DENIED = 1


def policy_command(files: Iterable[FileDescriptor]) -> click.Command:
    """Return the command; ``files``: those whose services the server has."""
    methods = [
        f"{service.full_name}/{name}"
        for file in files
        for service in file.services_by_name.values()
        for name in service.methods_by_name
    ]
    return click.Group(
        "policy",
        help="Check who may call what, before a server has to live with it.",
        commands=[_check_command(methods), _explain_command(methods)],
    )


def _check_command(methods: Sequence[str]) -> click.Command:
    @click.argument("file", type=click.Path(path_type=Path))
    @click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes of all instances.")
    def check(file: Path, workers: int) -> None:
        """Check a policy, and print its rules with their rates, of one process and of all."""
        policy = _read(file, methods)
        for line in table([_row(rule, workers) for rule in policy.rules], room()):
            click.echo(line)

    return click.command("check")(check)


def _explain_command(methods: Sequence[str]) -> click.Command:
    @click.argument("caller")
    @click.argument("rpc")
    @click.option("--file", type=click.Path(path_type=Path), help="Default: ACCESS_POLICY_FILE.")
    def explain(caller: str, rpc: str, file: Path | None) -> None:
        """Say whether CALLER may call RPC (Service/Method), and by which rules; the exit code is 1 where it may not."""
        policy = _read(file or _configured(), methods)
        name = short(rpc)
        if name not in {short(method) for method in methods}:
            cli.fail(f"there is no RPC {rpc}; there are: {', '.join(sorted(map(short, methods)))}")
        click.echo("\n".join(_verdict(caller, name, policy.granting(caller, name))))
        if not policy.granting(caller, name):
            raise SystemExit(EXIT_DENIED)

    return click.command("explain")(explain)


def _configured() -> Path:
    path = load(AccessSettings).access_policy_file
    if path is None:
        cli.fail("there is no policy: name one with --file, or by ACCESS_POLICY_FILE")
    return path


def _read(file: Path, methods: Iterable[str]) -> Policy:
    try:
        return read(file, methods)
    except PolicyWrong as error:
        click.echo(f"{file}: {error}", err=True)
        raise SystemExit(EXIT_BAD_SETTING) from None


def _row(rule: PolicyRule, workers: int) -> dict[str, object]:
    rate = rule.rate
    return {
        "rule": rule.number,
        "callers": " ".join(rule.callers),
        "rpcs": " ".join(rule.rpcs),
        "calls_per_second": "-" if rate is None else f"{rate.calls_per_second:g}",
        f"of_{workers}_processes": "-" if rate is None else f"{rate.calls_per_second * workers:g}",
        "burst": "-" if rate is None else f"{rate.burst:g}",
    }


def _verdict(caller: str, rpc: str, granting: Sequence[PolicyRule]) -> list[str]:
    if not granting:
        return [f"denied: no rule lets {caller} call {rpc}"]
    rates = [f"{rule.rate.calls_per_second:g} calls a second in each process" for rule in granting if rule.rate]
    rules = [f"rule {rule.number}: {' '.join(rule.callers)} -> {' '.join(rule.rpcs)}" for rule in granting]
    return [f"allowed, {' and '.join(rates)}" if rates else "allowed", *(f"  {line}" for line in rules)]
