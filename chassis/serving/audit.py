"""Opening the audit log: beside the log, or in a file of its own, as the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from chassis.access.assembly import Access
from chassis.interceptors.audit_log import AuditLog
from chassis.logs import logging
from chassis.logs.sink import LogSink
from chassis.settings import ServerSettings, WrongSetting


def open_log(settings: ServerSettings, access: Access) -> AuditLog | None:
    """Return the audit log; None where none is wanted. Raises WrongSetting where its file cannot be written."""
    if settings.audit_log == "off":
        return None
    if settings.audit_log_file is None:
        return AuditLog(logging.line_writer(), access.name_of, _nothing)
    sink = _file(settings.audit_log_file)
    return AuditLog(sink.write, access.name_of, sink.flush)


def _file(path: Path) -> LogSink:
    try:
        with path.open("ab") as stream:
            # The sink keeps a descriptor of its own.
            return LogSink(stream, _dropped)
    except OSError as error:
        raise WrongSetting(f"AUDIT_LOG_FILE: the file cannot be written: {error.strerror}") from None


def _dropped(number: int) -> bytes:
    line: dict[str, Any] = {"level": "error", "event": "audit lines were dropped: the file could not be written"}
    return orjson.dumps(line | {"lines": number}) + b"\n"


def _nothing() -> None:
    return
