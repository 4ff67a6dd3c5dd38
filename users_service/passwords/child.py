"""A hashing process as the service sees it: started, asked, and ended."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from users_service.passwords import frames

PROGRAM: Final = "users_service.passwords.hashing_process"
# The folder of our own package, however it was installed.
ROOT: Final = str(Path(__file__).resolve().parents[2])
# Variables that an interpreter may need to start. It gets no settings, which hold secrets.
PASSED_ON: Final = ("LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")
READ_BYTES: Final = 65_536
REAP_AGAIN_SECONDS: Final = 0.02
END_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Listener:
    """Callbacks: for an answer; for the end of a process, when it can no longer be asked; and once it is gone."""

    answered: Callable[[Child, bytes], None]
    ended: Callable[[Child], None]
    reaped: Callable[[Child], None]


class Child:
    """A process and the stream to it. It is asked one thing at a time."""

    def __init__(self, listener: Listener) -> None:
        """Start the process, which takes at most a millisecond; it can be asked before it is ready. Raises OSError."""
        self.idle_since = 0.0
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._open = True
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start(theirs)
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        self._socket = ours
        self._loop.add_reader(ours, self._receive)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ask(self, request: bytes, patience: float) -> bool:
        """Send a request; without an answer within ``patience``, in seconds, the process ends.

        Returns False where it had died before: then it cannot be of this request.
        """
        self._deadline = self._loop.call_later(patience, self.end)
        try:
            # The request before was answered, so the stream is empty and takes this one whole.
            self._socket.send(request)
        except OSError:
            # It has died. The listener is called later, so that callers of ``ask`` need not expect it here.
            self._loop.call_soon(self.end)
            return False
        return True

    def end(self) -> None:
        """End the process, whatever it is doing."""
        if not self._open:
            return
        self._stop()
        self._listener.ended(self)
        self._reap()

    def kill(self) -> None:
        """Begin to end the process, without calling the listener; ``wait`` must follow."""
        if self._open:
            self._stop()

    def wait(self) -> None:
        """Block until a process that was killed is gone, which takes milliseconds."""
        self._process.wait(END_SECONDS)

    def _receive(self) -> None:
        try:
            received = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            received = b""
        if not received:
            self.end()
            return
        self._received += received
        head, body = self._received[: frames.LENGTH_BYTES], self._received[frames.LENGTH_BYTES :]
        if len(head) == frames.LENGTH_BYTES and len(body) >= frames.length(head):
            self._answered(body)

    def _answered(self, body: bytes) -> None:
        self._received = b""
        self._forget_deadline()
        self._listener.answered(self, body)

    def _stop(self) -> None:
        self._open = False
        self._forget_deadline()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._process.kill()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _reap(self) -> None:
        if self._process.poll() is None:
            self._loop.call_later(REAP_AGAIN_SECONDS, self._reap)
        else:
            self._listener.reaped(self)


def _start(stream: socket.socket) -> subprocess.Popen[bytes]:
    # In a group of its own, so that Ctrl-C in a terminal goes to the service alone.
    # Without `site`, which would double the time and the memory that the start takes.
    return subprocess.Popen(
        [sys.executable, "-S", "-P", "-m", PROGRAM],
        stdin=stream.fileno(),
        stdout=stream.fileno(),
        env=_environment(),
        process_group=0,
    )


def _environment() -> dict[str, str]:
    """Return the environment of a hashing process, with the module path of this one."""
    places = dict.fromkeys([*(place or str(Path.cwd()) for place in sys.path), ROOT])
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, "PYTHONPATH": os.pathsep.join(places)}
