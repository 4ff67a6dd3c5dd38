"""What libraries log with the standard ``logging``: what kind of thing happened, without values, and not too often.

Their texts repeat what callers and databases send: gRPC logs a header that is no UTF-8 with its value, asyncio the
exception of a task with its text. So a record passes as its template, never with its arguments; a text that was put
together before it was logged does not pass, unless its library is known to speak of itself only.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import structlog

# Lines of one logger in one second. The rest is counted, and told at the end of that second.
LINES_A_SECOND: Final = 10
WITHOUT_TEXT: Final = "a library logged something; its text may hold data and is left out"

# What these write speaks of themselves: exporters' endpoints and codes, revisions.
_WHOLE_TEXTS: Final = frozenset({"opentelemetry", "alembic"})
# These also log texts put together with what they were sent; gRPC's releases differ in whether they log as "root".
_NO_TEXTS: Final = ("grpc", "asyncio", "root")
# How asyncio's and uvloop's texts begin; what follows are representations of objects.
_BEGINNINGS: Final = (
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Task was destroyed but it is pending!",
    "Exception in callback",
)


def capture(level: int) -> None:
    """Send the records of all libraries of ``level`` and above, warnings at least, to structlog."""
    root = logging.getLogger()
    root.handlers[:] = [Captured()]
    # Libraries narrate every heartbeat and statement at debug and info.
    root.setLevel(max(level, logging.WARNING))


def flush() -> None:
    """Tell what was left out, before the process ends."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Captured):
            handler.flush()


def capture_stderr_of_runtimes() -> None:
    """Keep a server's standard error free of what callers can provoke: it is written at once, and may stall, too.

    Python writes there the text of an exception that it can raise nowhere. gRPC's core is told to be quiet in
    ``chassis/__init__.py``.
    """
    log = logging.getLogger("python")
    sys.unraisablehook = lambda found: log.error("exception that could not be raised", exc_info=found.exc_value)
    threading.excepthook = lambda found: log.error("exception that ended a thread", exc_info=found.exc_value)


class Captured(logging.Handler):
    """Carries records over to structlog."""

    def __init__(self) -> None:
        super().__init__()
        self._limits: dict[str, _Limit] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record without its values, and shut its logger up where it has written too much."""
        _write(record.name, record.levelno, _event(record), exc_info=_error(record))
        limit = self._limits.get(record.name)
        if limit is None:
            limit = self._limits[record.name] = _Limit(record.name)
        limit.count()

    def flush(self) -> None:
        """Tell how many records were left out so far."""
        for limit in list(self._limits.values()):
            limit.tell()


class _Limit:
    """Lets a logger write so much a second; beyond, the logger itself is off, so that a record costs next to nothing.

    Off is more than a level: what would have been written is counted.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger: Any = logging.getLogger(name)
        self._since = 0.0
        self._lines = 0
        self._left_out: itertools.count[int] | None = None

    def count(self) -> None:
        """Note that a line was written."""
        now = monotonic()
        if now - self._since >= 1.0:
            self._since, self._lines = now, 0
        self._lines += 1
        if self._lines == LINES_A_SECOND:
            self._shut_up()

    def tell(self) -> None:
        """Let the logger write again, and say how many records were left out."""
        left_out, self._left_out = self._left_out, None
        if left_out is None:
            return
        vars(self._logger).pop("isEnabledFor", None)
        if number := next(left_out):
            _write(self._name, logging.WARNING, "lines of this logger were left out", lines=number)

    def _shut_up(self) -> None:
        left_out = self._left_out = itertools.count()
        is_enabled = self._logger.isEnabledFor

        def count(level: int) -> bool:
            if is_enabled(level):
                # Counting by this is atomic: libraries log from their own threads.
                next(left_out)
            return False

        # The first thing that every method of a logger asks, before it makes a record.
        self._logger.isEnabledFor = count
        timer = threading.Timer(1.0, self.tell)
        timer.daemon = True
        timer.start()


def _event(record: logging.LogRecord) -> str:
    library = record.name.partition(".")[0]
    if not isinstance(record.msg, str):
        return WITHOUT_TEXT
    if library in _WHOLE_TEXTS:
        # Arguments that do not fit their template are the library's fault, and no reason to fail in its place.
        with suppress(TypeError, ValueError, KeyError):
            return record.getMessage()
    if not record.args and record.name.startswith(_NO_TEXTS):
        return next((words for words in _BEGINNINGS if record.msg.startswith(words)), WITHOUT_TEXT)
    return record.msg


def _error(record: logging.LogRecord) -> Any:
    if isinstance(record.msg, BaseException):
        return record.msg
    return record.exc_info or None


def _write(name: str, level: int, event: str, **fields: Any) -> None:
    log = structlog.get_logger()
    (log.error if level >= logging.ERROR else log.warning)(event, logger_name=name, **fields)
