"""The lifecycle of a server: start, wait for a signal, drain, close.

The drain order: health NOT_SERVING → wait for balancers → end streams → stop with grace → wait for
the calls in flight → close what was opened, newest first. If something hangs, ``guard`` ends the process.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import uvloop

from chassis import core_dumps
from chassis.access import assembly as access
from chassis.logs import foreign_logs, logging
from chassis.serving import memory, plaintext, tls
from chassis.serving.guard import CLOSE_SECONDS, EXIT_DEAF, EXIT_STOPPED_AT_ONCE, Guard
from chassis.serving.server import Server
from chassis.serving.transports import choice
from chassis.settings import EXIT_BAD_SETTING, ServerSettings, WrongSetting

EXIT_OK: Final = 0
EXIT_START_FAILED: Final = 1
EXIT_FAILED: Final = 1


class StartFailed(Exception):
    """The server cannot start; the text is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The lifetime of a server, as its composition root sees it.

    ``resources``: enter pools and clients here; they close in reverse order after the last call.
    ``draining``: set when open streams should end.
    """

    resources: AsyncExitStack
    draining: asyncio.Event


Build = Callable[[Scope], Awaitable[Server]]


def run(settings: ServerSettings, build: Build) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code.

    0 after a drain; 1 when the start failed (one line on stderr), or when the server could accept no more calls; 2 when
    a setting is wrong, which the line names; 3 when the process was deaf: the database answered new connections, but
    not ours; 130 when a second signal cut the drain short. A process that hangs is ended by force: with 3 if its event
    loop does not turn, with 4 or 130 after a signal.
    """
    if settings.core_dumps:
        core_dumps.allow()
    patience = (settings.grpc_drain_ms + settings.grpc_grace_ms) / 1000 + CLOSE_SECONDS
    guard = Guard(patience, deaf=settings.health_deaf_ms / 1000)
    guard.start()
    sink = logging.configure(settings.log_level, settings.log_format)
    guard.flush = sink.flush
    foreign_logs.capture_stderr_of_runtimes()
    try:
        choice.check(settings)
        plaintext.check(settings)
        tls.check_files(settings)
        access.check_files(settings)
        plaintext.tell(settings)
        return uvloop.run(_serve(build, guard))
    except WrongSetting as error:
        sys.stderr.write(f"wrong setting: {error}\n")
        return EXIT_BAD_SETTING
    except (StartFailed, OSError) as error:
        sys.stderr.write(f"cannot start: {str(error).replace(chr(10), ' ')}\n")
        return EXIT_START_FAILED
    finally:
        guard.detach()
        sink.flush()


async def _serve(build: Build, guard: Guard) -> int:
    log = logging.get("chassis.serving.lifecycle")
    guard.attach()
    async with AsyncExitStack() as resources:
        server = await build(Scope(resources, asyncio.Event()))
        await server.start()
        _settle_memory()
        log.info("listening", address=server.address)
        await _first_of(guard.stop, server.failed, server.deaf)
        guard.expect_end()
        log.info("draining", in_flight=server.in_flight.total)
        drained = await _until(guard.stop_now, _drain(server))
        log.info("stopped", drained=drained)
    if server.failed.is_set():
        return EXIT_FAILED
    if not drained:
        return EXIT_STOPPED_AT_ONCE
    return EXIT_DEAF if server.deaf.is_set() else EXIT_OK


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _drain(server: Server) -> None:
    await server.drain()
    await server.stop()


async def _until(stop_now: asyncio.Event, drain: Awaitable[None]) -> bool:
    """Run the drain, and return True at its end; give it up and return False at the second signal."""
    draining = asyncio.ensure_future(drain)
    cut_short = asyncio.ensure_future(stop_now.wait())
    await asyncio.wait((draining, cut_short), return_when=asyncio.FIRST_COMPLETED)
    finished = draining.done()
    cut_short.cancel()
    if not finished:
        draining.cancel()
        await asyncio.wait((draining,))
        return False
    await draining
    return True


def _settle_memory() -> None:
    # What start-up made stays for good, so the garbage collector need not look at it again.
    gc.collect()
    gc.freeze()
    # glibc keeps 2 to 3 MiB that imports and the reading of settings have freed, unless it is told to return them.
    memory.give_back()
