"""The memory that hashing may take: by what the machine has, or what the container may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

MIB: Final = 1024 * 1024
# Of the memory that there is, the part that hashes at work may take together; the service itself needs about a quarter
# of the smallest pod that it is run in.
PART: Final = 2
# Of a hashing process beside its hash, at work or idle.
PROCESS_BYTES: Final = 8 * MIB
# Where the kernel's control groups are: version 2, and version 1.
GROUPS: Final = (("", "sys/fs/cgroup", "memory.max"), ("memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes"))


def hashing_memory(wanted_mib: int, workers: int = 1) -> int:
    """Return how many bytes the hashes of each of ``workers`` may take at once; ``wanted_mib`` 0: by what there is."""
    return wanted_mib * MIB or memory_there_is() // PART // workers


def memory_there_is(root: Path = Path("/")) -> int:
    """Return the bytes that this process may use with its children: the machine's, or less in a limited container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """Yield the limits of the control groups that this process is in, from its own up to the outermost."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        for controller, mount, name in GROUPS:
            if controller in controllers.split(","):
                yield from _of_group(root / mount, group, name)


def _of_group(mount: Path, group: str, name: str) -> Iterator[int]:
    path = PurePosixPath(group.lstrip("/"))
    # A container may see its own group as the outermost one, under a path that is the host's.
    for place in dict.fromkeys((path, *path.parents)):
        limit = _text(mount / place / name).strip()
        # "max", and a file that is not there, limit nothing.
        if limit.isdecimal():
            yield int(limit)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
