"""Metrics of the process, with the names of Prometheus' client libraries; none where there is no ``/proc``."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chassis.telemetry.families import Family, counter, gauge

_STARTED: Final = time.time()
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def collect() -> Iterator[Family]:
    """Yield the metrics of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield counter("process_cpu_seconds_total", "Processor time used, in seconds.", used.ru_utime + used.ru_stime)
    yield gauge("process_start_time_seconds", "When the process started, since 1970.", _STARTED)
    yield gauge("process_max_fds", "File descriptors that it may open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    statm, open_files = Path("/proc/self/statm"), Path("/proc/self/fd")
    if statm.exists():
        pages = statm.read_text().split()
        yield gauge("process_resident_memory_bytes", "Memory that it holds.", int(pages[1]) * _PAGE)
        yield gauge("process_virtual_memory_bytes", "Address space that it uses.", int(pages[0]) * _PAGE)
        yield gauge("process_open_fds", "File descriptors that it has open.", sum(1 for _ in open_files.iterdir()))
