"""``notifications-service backup``: one file with everything that the database held at one moment."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from chassis.backup import writing
from chassis.backup.command import BackupOptions
from chassis.backup.manifest import Manifest, Source
from chassis.backup.writing import ArchiveWriter
from chassis.clock import Clock
from chassis.commands.progress import progress
from notifications_service.backup.bson_stream import Sum
from notifications_service.backup.collections import METADATA
from notifications_service.backup.snapshot import Snapshot, open_snapshot
from notifications_service.settings import DatabaseSettings

SERVICE: Final = "notifications-service"
DOCUMENTS: Final = ".bson"


async def backup(settings: DatabaseSettings, path: Path, clock: Clock, options: BackupOptions) -> Manifest:
    """Write a backup of the database to ``path``; say on stderr what is not of its moment. Raises ``CommandFailed``."""
    with writing.create(path, overwrite=options.overwrite) as archive:
        async with open_snapshot(settings, clock) as snapshot:
            if capped := ", ".join(each.name for each in snapshot.collections if each.capped):
                click.echo(f"not of the backup's moment, since capped collections know none: {capped}", err=True)
            archive.begin(SERVICE, snapshot.schema)
            counts, sums = await _write(snapshot, archive)
        return archive.finish(
            Source(
                service=SERVICE,
                database=snapshot.connection.name,
                server=snapshot.server,
                schema_revision=snapshot.schema,
                taken_at=snapshot.taken_at,
                counts=counts,
                checksums={name: str(total) for name, total in sums.items()},
                position=snapshot.position,
            )
        )


async def _write(snapshot: Snapshot, archive: ArchiveWriter) -> tuple[dict[str, int], dict[str, Sum]]:
    folder = snapshot.connection.name
    for collection in snapshot.collections:
        archive.add(f"{folder}/{collection.name}{METADATA}", collection.to_json().encode())
    stored = {collection.stored: collection for collection in snapshot.collections if collection.stored}
    counts = dict.fromkeys(stored, 0)
    sums = {name: Sum() for name in counts}
    with progress("backing up", await _estimate(snapshot)) as advance:
        for name, collection in stored.items():
            with archive.part(f"{folder}/{name}{DOCUMENTS}") as part:
                async for documents in snapshot.documents(collection):
                    part.write(b"".join([document.raw for document in documents]))
                    counts[name] += len(documents)
                    for document in documents:
                        sums[name].add(document)
                    advance(len(documents))
    return counts, sums


async def _estimate(snapshot: Snapshot) -> int:
    """Return about how many documents there are."""
    return int((await snapshot.connection.command({"dbStats": 1}))["objects"])
