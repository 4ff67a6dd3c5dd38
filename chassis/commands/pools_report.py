"""The pools section of the ``status`` reports: read from the metrics of the running service."""

from __future__ import annotations

import re
from typing import Final

from chassis.commands.report import ReportRow, Section
from chassis.settings import ServerSettings
from chassis.telemetry import endpoint

_SECONDS: Final = 2.0
_METRIC: Final = re.compile(r"^vibework_pool_(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_EVERYWHERE: Final = dict.fromkeys(("", "0.0.0.0", "::", "[::]"), "127.0.0.1")  # noqa: S104 - asked, not bound


async def pools(settings: ServerSettings, port: int) -> Section:
    """Read the metrics of the service on METRICS_HOST and a port: the command's own pools are not the service's."""
    if not port:
        return Section("pools", reason="METRICS_PORT is 0; a service tells its pools there")
    address = (_EVERYWHERE.get(settings.metrics_host, settings.metrics_host), port)
    text = await endpoint.fetch(address, _SECONDS)
    if text is None:
        where = f"{address[0]}:{address[1]}"
        return Section(
            "pools", reason=f"no service answers on {where} (METRICS_HOST, METRICS_PORT); run this beside it"
        )
    return Section("pools", rows_of(text))


def served_port(settings: ServerSettings, served: type[ServerSettings]) -> int:
    """Return the METRICS_PORT of the service: what ``serve`` takes, whose settings are ``served``, if none is set."""
    if "metrics_port" in settings.model_fields_set:
        return settings.metrics_port
    return int(served.model_fields["metrics_port"].default)


def rows_of(metrics: str) -> list[ReportRow]:
    """Return a row for each pool (of each worker), with a column for each metric."""
    rows: dict[str, ReportRow] = {}
    for name, labels, value in _METRIC.findall(metrics):
        row = rows.setdefault(labels, dict(_LABEL.findall(labels)))
        row[name.removesuffix("_total")] = int(float(value))
    return list(rows.values())
