"""Files that are whole or not there: written under another name, and named once they are on the disk."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

# How the name of a file ends while it is written.
UNFINISHED: Final = ".unfinished"


@contextmanager
def create(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Write a file for as long as the context lasts; it gets its name at the end, on disk and with mode 600.

    What fails leaves nothing behind. Raises FileExistsError for a file that is there, unless ``overwrite``, and
    OSError.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(path)
    with _unfinished(path) as (file, name):
        yield file
        file.flush()
        os.fsync(file.fileno())
        _publish(name, path, overwrite=overwrite)


@contextmanager
def named(path: Path, failed: Callable[[str], Exception], *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Do as ``create`` does for a command; ``failed``: makes its error of the line that says what went wrong."""
    try:
        with create(path, overwrite=overwrite) as file:
            yield file
    except FileExistsError:
        raise failed(f"{path} exists: name another file, or say --overwrite") from None
    except OSError as error:
        raise failed(f"{path} could not be written: {error.strerror or type(error).__name__}") from error


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Write to the standard output for as long as the context lasts. Raises OSError, as where nobody reads any more."""
    stream = sys.stdout.buffer
    try:
        yield stream
        stream.flush()
    except OSError:
        with suppress(OSError):
            # Python would try to write what is left at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise


@contextmanager
def _unfinished(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            with suppress(OSError):
                # Whoever finds the file without this lock knows that nobody writes it any more.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _publish(name: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        name.replace(path)
    else:
        try:
            # Unlike a renaming, a link never takes the place of a file that came meanwhile.
            path.hardlink_to(name)
        except FileExistsError:
            raise
        except OSError:
            # Not every file system has links.
            name.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
