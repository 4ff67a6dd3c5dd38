"""Archives that the tests have made themselves, unpacked by any Python: before 3.11.4 there are no filters."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpack(archive: Path, folder: Path) -> None:
    """Extract all that a tar file has, compressed or not."""
    with tarfile.open(archive) as opened:
        extract(opened, folder)


def extract(opened: tarfile.TarFile, folder: Path) -> None:
    """Extract all that is left in an open archive."""
    if hasattr(tarfile, "data_filter"):
        opened.extractall(folder, filter="data")
    else:
        opened.extractall(folder)  # noqa: S202 - see above
