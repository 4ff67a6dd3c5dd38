"""Core dumps: a process that crashes leaves no file of its memory, in which secrets are, unless a setting allows it."""

from __future__ import annotations

import resource
from typing import Final

# Below a page, so that no file is written. Not 0: the kernel hands a core to a program that `kernel.core_pattern` names
# whatever the limit is, but for this one (fs/coredump.c).
NONE: Final = 1


def forbid() -> None:
    """Let this process, and those that it starts, leave no core."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (NONE, hard))


def allow() -> None:
    """Let this process, and those that it starts, leave cores as large as the hard limit lets them."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
