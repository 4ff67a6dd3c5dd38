"""The use of a running service's pools, as it tells it in its metrics, for the reports of commands beside it."""

from __future__ import annotations

import re
from typing import Final

from chassis.commands.report import Row, Section
from chassis.settings import ServerSettings
from chassis.telemetry import endpoint

_SECONDS: Final = 2.0
_METRIC: Final = re.compile(r"^vibework_pool_(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not bound


async def pools(settings: ServerSettings, port: int) -> Section:
    """Ask the service on METRICS_HOST and a port; a command's own pools say nothing of a service's."""
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


def rows_of(metrics: str) -> list[Row]:
    """Return a row for each pool (of each worker), with a column for each metric."""
    rows: dict[str, Row] = {}
    for name, labels, value in _METRIC.findall(metrics):
        row = rows.setdefault(labels, dict(_LABEL.findall(labels)))
        row[name.removesuffix("_total")] = int(float(value))
    return list(rows.values())
