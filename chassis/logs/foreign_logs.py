"""Log records of libraries, from the standard ``logging``: without values, and not too many.

Their texts repeat what callers and databases send: gRPC logs a header that is no UTF-8 with its value, asyncio the
exception of a task with its text. So only the template of a record is logged, never its arguments. A text that the
library formatted before logging it is left out, unless the library is known to write only about itself.
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

# Lines of one logger in one second. Further ones are counted, and their number is logged at the end of that second.
LINES_A_SECOND: Final = 10
WITHOUT_TEXT: Final = "a library logged something; its text may hold data and is left out"

# These write only about themselves: endpoints and codes of exporters, revisions.
_WHOLE_TEXTS: Final = frozenset({"opentelemetry", "alembic"})
# These also log texts formatted with data that they were sent. Some releases of gRPC log as "root".
_NO_TEXTS: Final = ("grpc", "pygrpc_native", "asyncio", "root")
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
    """Log how many records were left out, before the process ends."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Captured):
            handler.flush()


def capture_stderr_of_runtimes() -> None:
    """Keep standard error free of text that callers can provoke: a write to it blocks while nobody reads it.

    Python writes the text of exceptions there that it cannot raise anywhere. gRPC's core is silenced in
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
        """Write a record without its values, and silence its logger where it has written too much."""
        _write(record.name, record.levelno, _event(record), exc_info=_error(record))
        limit = self._limits.get(record.name)
        if limit is None:
            limit = self._limits[record.name] = _Limit(record.name)
        limit.count()

    def flush(self) -> None:
        """Log how many records were left out so far."""
        for limit in list(self._limits.values()):
            limit.tell()


class _Limit:
    """Limits the lines of a logger in a second; beyond, the logger is off, so that a record costs next to nothing.

    While it is off, the records that it would have written are counted.
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
        """Let the logger write again, and log how many records were left out."""
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
        # Arguments that do not fit their template are the library's mistake, and must not become an error here.
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
