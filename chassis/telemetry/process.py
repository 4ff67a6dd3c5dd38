"""Metrics of the process, with the names of Prometheus' client libraries; none where there is no ``/proc``."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chassis.serving import memory
from chassis.telemetry.families import Family, counter, gauge

_STARTED: Final = time.time()


def collect() -> Iterator[Family]:
    """Yield the metrics of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield counter("process_cpu_seconds_total", "Processor time used, in seconds.", used.ru_utime + used.ru_stime)
    yield gauge("process_start_time_seconds", "When the process started, since 1970.", _STARTED)
    yield gauge("process_max_fds", "File descriptors that it may open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if (memory_use := memory.use()) is not None:
        yield gauge("process_resident_memory_bytes", "Memory that it holds.", memory_use.resident)
        yield gauge("process_virtual_memory_bytes", "Address space that it uses.", memory_use.virtual)
        open_files = sum(1 for _ in Path("/proc/self/fd").iterdir())
        yield gauge("process_open_fds", "File descriptors that it has open.", open_files)
