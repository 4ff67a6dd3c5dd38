"""The command line of both services: groups that import only the command asked for, options, failures, Ctrl-C."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from chassis.errors import ServiceError
from chassis.logs.tracebacks import summary
from chassis.schema import SchemaLacking
from chassis.settings import EXIT_BAD_SETTING, ServerSettings, WrongSetting

T = TypeVar("T")

EXIT_INTERRUPTED: Final = 130
CLEAN_UP_SECONDS: Final = 5.0


class CommandFailed(Exception):
    """A command cannot be carried out; the text is one line for a person."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is asked for: ``serve`` does not wait for ``migrate``'s packages.

    ``commands``: where each command is, as ``package.module:attribute``.
    """

    def __init__(self, *, places: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._places = places
        self.params.append(_version_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self._places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and return it."""
        place = self._places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so, without importing any: somebody waits with the Tab key."""
        names = [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


def _version_option() -> click.Option:
    def tell(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            from chassis.commands.report import version_of

            click.echo(f"{context.info_name} {version_of('vibework-services')}")
            context.exit()

    return click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=tell, help="Print the version."
    )


def serve(
    package: str, settings: ServerSettings, workers: int, of_workers: Mapping[str, str] | None = None
) -> NoReturn:
    """Serve the application of a service's package in this process, or in several that this one looks after.

    ``of_workers``: settings that only the latter have. Only what is needed is imported: the parent of workers serves
    nothing itself.
    """
    if workers > 1:
        from chassis.commands.workers import serve as supervise

        sys.exit(supervise([sys.executable, "-m", package, "serve"], workers, settings, of_workers or {}))
    from chassis.serving import lifecycle

    application = importlib.import_module(f"{package}.app")
    sys.exit(lifecycle.run(settings, partial(application.build, settings)))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Carry out a command's work; a failure ends the process with one line and exit code 1, a wrong setting with 2."""
    try:
        return run_interruptibly(work)
    except WrongSetting as error:
        sys.stderr.write(f"wrong setting: {error}\n")
        sys.exit(EXIT_BAD_SETTING)
    except (CommandFailed, SchemaLacking, ServiceError) as error:
        fail(told(error))
    except Exception as error:  # noqa: BLE001 - told in one line
        fail(unforeseen(error))


def told(error: Exception) -> str:
    """Return the text of an error with its notes, which are for whoever runs a command and for no caller."""
    return ": ".join([str(error), *getattr(error, "__notes__", ())])


def unforeseen(error: Exception) -> str:
    """Return what a person needs of an error that no command foresees: its class and place, never a driver's text."""
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename else ""
        return f"failed: {error.strerror}{name}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"failed unexpectedly: {summary(error)} at {frames[-1].filename}, line {frames[-1].lineno}"


def run_interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as ``asyncio.run`` does; Ctrl-C ends the process, whatever it is doing.

    The first Ctrl-C cancels the work, which has 5 seconds to clean up before the kernel ends the process. A second one
    ends the process at once, with exit code 130.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    return asyncio.run(_interruptible(work))


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    cancel: Any = signal.getsignal(signal.SIGINT)  # asyncio's own, for as long as it runs
    interrupts = 0

    def interrupt(number: int, frame: Any) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1 or not callable(cancel):
            os._exit(EXIT_INTERRUPTED)
        signal.setitimer(signal.ITIMER_REAL, CLEAN_UP_SECONDS)
        cancel(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        return await work
    finally:
        # The timer goes on: what follows may hang, too.
        signal.signal(signal.SIGINT, cancel)


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Log to stderr inside the block: stdout is for what the command prints, which may be JSON."""
    import structlog

    before = structlog.get_config()
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


def fail(text: str) -> NoReturn:
    """End the process with one line on stderr and exit code 1."""
    click.echo(text.replace("\n", " "), err=True)
    sys.exit(1)


def with_options(command: Callable[..., None], *declared: Callable[[Any], Any]) -> Callable[..., None]:
    """Add arguments and options, which ``--help`` lists in this order."""
    for decorate in reversed(declared):
        command = decorate(command)
    return command


def workers_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--workers``."""
    return click.option(
        "--workers",
        default="1",
        show_default=True,
        metavar="N|auto",
        callback=_workers,
        help="Processes on the one port; auto: one per core.",
    )(command)


def _workers(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    from chassis.commands.workers import count_of

    try:
        return count_of(value)
    except ValueError:
        raise click.BadParameter("a number from 1, or auto") from None
