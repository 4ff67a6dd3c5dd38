"""The memory there is: the machine's, or what its control groups leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from users_service.passwords.memory import MIB, hashing_memory, memory_there_is

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
V1_UNLIMITED = "9223372036854771712"

GROUPS: dict[str, tuple[dict[str, str], int]] = {
    "no groups": ({}, MACHINE),
    "version 2, in a container": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 * MIB),
    "version 2, no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, MACHINE),
    "version 2, the limit of an outer group": (
        {
            "proc/self/cgroup": "0::/pod/container\n",
            "sys/fs/cgroup/pod/container/memory.max": "max\n",
            "sys/fs/cgroup/pod/memory.max": "268435456\n",
        },
        256 * MIB,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "8:pids:/a\n4:cpu,memory:/a/b\n0::/\n",
            "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "134217728\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": V1_UNLIMITED,
        },
        128 * MIB,
    ),
    "version 1, in a container that sees the path of its host": (
        {
            "proc/self/cgroup": "4:memory:/docker/0123\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
        },
        128 * MIB,
    ),
    "version 1, another controller's group": (
        {"proc/self/cgroup": "8:pids:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "134217728\n"},
        MACHINE,
    ),
}


@pytest.mark.parametrize(("files", "expected"), GROUPS.values(), ids=GROUPS)
def test_the_limit_of_the_container_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """The least of the machine's memory and of all limits around the process is what there is."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_there_is(tmp_path) == min(expected, MACHINE)


def test_workers_share_the_memory() -> None:
    """Half of what there is, divided among the workers; what was set is for each of them."""
    assert hashing_memory(0) == memory_there_is() // 2
    assert hashing_memory(0, 4) == memory_there_is() // 2 // 4
    assert hashing_memory(100, 4) == 100 * MIB
