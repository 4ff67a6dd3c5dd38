"""The link to a replica: asks for its state, on a connection of its own that no read can occupy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncmy
import asyncmy.errors

from chassis.context.statements import naming
from users_service.mysql.driver_errors import finds_dead
from users_service.mysql.engines import limited_arguments
from users_service.mysql.settings import MySQLSettings
from users_service.replicas.errors import ReplicaFailed
from users_service.replicas.gtid_sets import GtidSet, parse

CONNECTIONS: Final = 1
# Errors of the driver where a server is away. A TimeoutError is an OSError; a connection that is reset while it is
# being opened raises a RuntimeError.
LINK_ERRORS: Final = (asyncmy.errors.MySQLError, OSError, RuntimeError)

# MariaDB and MySQL each ignore the comments for the other.
PRIMARY_POSITION: Final = "SELECT /*M!100100 @@GLOBAL.gtid_binlog_pos */ /*!80000 @@GLOBAL.gtid_executed */"
_STATE: Final = "SELECT @@GLOBAL.read_only, /*M!100100 @@GLOBAL.gtid_slave_pos */ /*!80000 @@GLOBAL.gtid_executed */"


@dataclass(frozen=True, slots=True)
class ReplicaLook:
    """The state of a replica, as it reports it."""

    read_only: bool
    position: GtidSet


class Link:
    """Asks one replica; each answer comes within ``seconds``, or ReplicaFailed is raised."""

    def __init__(self, settings: MySQLSettings, seconds: float) -> None:
        self._arguments = limited_arguments(settings)
        self._seconds = seconds
        self._pool: Any = None

    async def look(self) -> ReplicaLook:
        """Return the replica's state."""
        try:
            with naming("replicas.look"):
                async with asyncio.timeout(self._seconds):
                    ((read_only, position),) = await self._rows_anew(_STATE)
        except LINK_ERRORS as error:
            raise ReplicaFailed from error
        return ReplicaLook(read_only not in (0, "OFF"), parse(position))

    async def _rows_anew(self, statement: str) -> Sequence[Any]:
        """Return the rows; ask once more where the connection turns out dead, which says nothing of the replica."""
        try:
            return await self._rows(statement)
        except (asyncmy.errors.MySQLError, OSError, EOFError) as error:
            if not finds_dead(error):
                raise
        return await self._rows(statement)

    async def _rows(self, statement: str) -> Sequence[Any]:
        pool = await self._opened()
        async with pool.acquire() as connection:
            try:
                async with connection.cursor() as cursor:
                    await cursor.execute(statement)
                    return list(await cursor.fetchall())
            except BaseException:
                # The pool keeps none that is closed.
                connection.close()
                raise

    async def _opened(self) -> Any:
        if self._pool is None:
            # With no connection to begin with it asks nobody, so it is made at once.
            self._pool = await asyncmy.create_pool(minsize=0, maxsize=CONNECTIONS, autocommit=True, **self._arguments)
        return self._pool

    async def close(self) -> None:
        """Close the connection."""
        if self._pool is not None:
            self._pool.terminate()
            async with asyncio.timeout(self._seconds):
                await self._pool.wait_closed()
