"""Structured logs: JSON lines for machines, readable lines for a terminal, secrets in neither."""

from __future__ import annotations

import atexit
import json
import sys
from collections.abc import Callable, MutableMapping, Sequence
from functools import partial
from typing import Any, BinaryIO, Final

import orjson
import structlog
from structlog.typing import EventDict, Processor

from chassis.context import calls
from chassis.logs import foreign_logs, tracebacks
from chassis.logs.sink import LogSink

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_WORDS: Final = ("password", "passwd", "secret", "token", "authorization", "cookie", "credential")
_REMOVED: Final = "[removed]"

Logger = structlog.typing.FilteringBoundLogger


def configure(level: str, form: str, stream: BinaryIO | None = None) -> LogSink:
    """Send structlog and the standard ``logging`` to ``stream`` (stdout when None).

    ``form`` is ``json``, ``console`` or ``auto`` (console on a terminal). Returns the sink: whoever ends the process
    by ``os._exit`` flushes it first; an exception or ``sys.exit`` does so by itself.
    """
    target = stream if stream is not None else sys.stdout.buffer
    console = form == "console" or (form == "auto" and target.isatty())
    processors = [*_common(), _console() if console else _json]
    sink = LogSink(target, partial(_dropped_lines, processors), immediate=console)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    foreign_logs.capture(_LEVELS[level])
    atexit.unregister(_flush)
    atexit.register(_flush)
    return sink


def get(name: str) -> Logger:
    """Return a logger whose lines carry ``logger_name=name``."""
    # Lazy: a module may ask for its logger before the logs are configured.
    logger: Logger = structlog.get_logger(logger_name=name)
    return logger


def is_enabled(level: str) -> bool:
    """Say whether lines of a level are written; call it after ``configure``."""
    return bool(structlog.get_logger().is_enabled_for(_LEVELS[level]))


def json_writer() -> Callable[[bytes], None] | None:
    """Return a function that writes finished JSON lines, or None when the log is not JSON; call after ``configure``.

    For lines that are written for every call, because structlog takes 14 µs for each. Nothing removes secrets from
    them: the caller must.
    """
    configured = structlog.get_config()
    if configured["processors"][-1] is not _json:
        return None
    write: Callable[[bytes], None] = configured["logger_factory"]().write
    return write


def line_writer() -> Callable[[bytes], None]:
    """Return a function that writes finished lines beside the log, whatever its form and level.

    Nothing removes secrets from them: the caller must. Where the log is not configured they go to stdout.
    """
    sink = _sink()
    return _print_line if sink is None else sink.write


def _print_line(line: bytes) -> None:
    sys.stdout.write(line.decode() + "\n")


def dropped_lines() -> int:
    """Return how many lines of this process were dropped, because the reader of the log stalled or is gone."""
    sink = _sink()
    return sink.dropped if sink else 0


def _sink() -> LogSink | None:
    configured = structlog.get_config()["logger_factory"]()
    return configured if isinstance(configured, LogSink) else None


def _flush() -> None:
    foreign_logs.flush()
    if sink := _sink():
        sink.flush()


def _dropped_lines(processors: Sequence[Processor], number: int) -> bytes:
    """Make the line that says how many lines were dropped; runs in the writer's thread, outside of any call."""
    event: Any = {"event": "log lines were dropped: their reader stalled", "lines": number, "logger_name": __name__}
    for process in processors:
        event = process(None, "warning", event)
    line: bytes = event
    return line + b"\n"


def _common() -> list[Processor]:
    return [
        _add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _describe_exception,
        _remove_secrets,
    ]


def _add_request_id(_: Any, __: str, event: EventDict) -> EventDict:
    if call := calls.current():
        event.setdefault("request_id", call.request_id)
        if call.trace_id:
            event.setdefault("trace_id", call.trace_id)
    return event


def _describe_exception(_: Any, __: str, event: EventDict) -> EventDict:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exception()
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["error"] = tracebacks.describe(error)
    return event


def _remove_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = _REMOVED
    return event


def _json(_: Any, __: str, event: MutableMapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=repr)
    except TypeError:
        # Half of a surrogate pair, or a number beyond 64 bits: such a value must not become an error of its logger.
        return json.dumps(event, default=repr, skipkeys=True).encode()


def _console() -> Processor:
    render = structlog.dev.ConsoleRenderer(colors=True)

    def as_bytes(logger: Any, name: str, event: EventDict) -> bytes:
        trace = event.pop("error", [])
        line = str(render(logger, name, event))
        return "\n".join([line, *trace]).encode()

    return as_bytes
