"""Progress bars of long commands, on a terminal; elsewhere nothing is written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr for as long as the context lasts; call what it yields with how many more are done.

    ``total`` None: nobody knows how many there are, so there is no bar.
    """
    if total is None or not sys.stderr.isatty():
        yield lambda _done: None
        return
    with click.progressbar(length=total, label=what, show_pos=True, file=sys.stderr) as bar:
        yield bar.update
