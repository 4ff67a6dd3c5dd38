"""Files that may change while the server runs."""

from __future__ import annotations

from pathlib import Path


def stamp_of(path: Path) -> tuple[int, int, int]:
    """Return what differs once a file was written or replaced; it follows links, as Kubernetes mounts files.

    Raises OSError.
    """
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size
