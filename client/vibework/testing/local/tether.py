"""Run a command that ends when its parent does: `tether.py PARENT_PID SIGNAL COMMAND...`.

A program of its own, and not a `preexec_fn`, because running Python between fork and exec is unsafe in a
process that has threads. Linux only: elsewhere the command runs untethered.

A command that writes beyond a limit on the size of files gets an error, as from a full disk, and is not killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for a signal on the parent's death, then become the command."""
    parent, signal_number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # it died before the kernel was asked
            raise SystemExit(1)
        # What is ignored stays so; `subprocess` has put it back to what kills.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
