"""Files that look like backups and were not written by one: with right checksums, whatever they hold."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backports import zstd

from chassis.backup.reading import Archive

SERVICES = {"users-service": "0001", "notifications-service": "0001"}
DOCUMENTS = "x/notifications.bson.zst"
DESCRIPTION = "x/notifications.metadata.json"
DATABASE = "database.sql.zst"
FIRST_PIECE = "database.sql.000001.zst"
# Zstandard (RFC 8878, 3.1.1): a block of one byte repeated has at most 128 KiB and takes four bytes.
_BLOCK = 128 << 10
_MAGIC = bytes.fromhex("28b52ffd")


def bomb(size: int, *, content: bytes = b"", byte: bytes = b"x", window_log: int = 20) -> bytes:
    """Return a frame of about ``size`` bytes of one kind, after ``content``, that takes a 32,768th of it."""
    window = bytes([0, (window_log - 10) << 3])
    first = [_block(0, len(content)) + content] if content else []
    repeated = [_block(1, _BLOCK) + byte] * (size // _BLOCK)
    last = _block(1, 1, last=1) + byte
    return b"".join([_MAGIC, window, *first, *repeated, last])


def bomb_bytes(size: int, content: bytes = b"") -> int:
    """Return how much such a frame holds."""
    return len(content) + size // _BLOCK * _BLOCK + 1


def _block(kind: int, size: int, *, last: int = 0) -> bytes:
    return (size << 3 | kind << 1 | last).to_bytes(3, "little")


def craft(path: Path, of: str, content: Mapping[str, bytes], sizes: Mapping[str, int], **manifest: Any) -> Path:
    """Write an archive of these parts, with a manifest and checksums that fit; ``sizes``: of what they hold."""
    described: dict[str, Any] = {
        "service": of,
        "database": "x",
        "server": "X 1",
        "schema_revision": SERVICES[of],
        "taken_at": "2026-01-02T03:04:05Z",
        "finished_at": "2026-01-02T03:04:06Z",
        "counts": {},
        "position": None,
        "format": 1,
        "service_version": "1",
        "parts": [
            {
                "name": name,
                "bytes": len(part),
                "content_bytes": sizes.get(name, len(part)),
                "sha256": hashlib.sha256(part).hexdigest(),
            }
            for name, part in content.items()
        ],
    }
    return seal(path, content, json.dumps(described | manifest).encode())


def seal(path: Path, parts: Mapping[str, bytes], manifest: bytes) -> Path:
    """Write an archive of these parts, this manifest, and the checksums of both."""
    members = {**parts, "manifest.json": manifest}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items())
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in {**members, "SHA256SUMS": sums.encode()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Return what the files of a backup hold, not compressed; without its manifest and checksums."""
    return {
        name: zstd.decompress(content) if name.endswith(".zst") else content
        for name, content in members(path).items()
        if name not in ("manifest.json", "SHA256SUMS")
    }


def members(path: Path) -> dict[str, bytes]:
    """Return the files of a backup as they are."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def reseal(source: Path, path: Path, changed: Mapping[str, bytes], **manifest: Any) -> Path:
    """Write a backup again with other contents, and with sizes and checksums that fit them."""
    described = json.loads(Archive(source).manifest.model_dump_json()) | manifest
    parts = {name: zstd.compress(content) if name.endswith(".zst") else content for name, content in changed.items()}
    described["parts"] = [
        {
            "name": name,
            "bytes": len(content),
            "content_bytes": len(changed[name]),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in parts.items()
    ]
    return seal(path, parts, json.dumps(described).encode())
