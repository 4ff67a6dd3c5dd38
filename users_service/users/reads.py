"""Point reads of users: those that arrive together become one query."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chassis.batching.coalesce import Coalescer
from chassis.slices import Slices
from users_service.errors import RecordUnreadable
from users_service.mysql.database import Database
from users_service.mysql.point_reads import PointRead
from users_service.mysql.rows import key, or_error
from users_service.users.model import User
from users_service.users.repository import COLUMNS, user_of
from users_service.users.states import DISABLED_SINCE

_COLUMNS: Final = ", ".join(DISABLED_SINCE if column.name == "disabled_at" else column.name for column in COLUMNS)
_SELECT: Final = f"SELECT {_COLUMNS} FROM users WHERE"  # noqa: S608 - fixed names
_BY_EMAIL: Final = f"SELECT {_COLUMNS}, email_normalized FROM users WHERE"  # noqa: S608


class UserReads:
    """Reads users by id and by address; committed rows only. A row that cannot be read raises RecordUnreadable."""

    def __init__(self, database: Database, slices: Slices) -> None:
        self._slices = slices
        self._ids = PointRead(database, "users.read_by_id", f"{_SELECT} id IN")
        self._emails = PointRead(database, "users.read_by_email", f"{_BY_EMAIL} email_normalized IN")
        self._by_id: Coalescer[str, User] = Coalescer(self._read_ids, max_in_flight=1)
        self._by_email: Coalescer[str, User] = Coalescer(self._read_emails, max_in_flight=1)

    async def get(self, id_: str) -> User | None:
        """Return the user of an id."""
        return await self._by_id.get(id_)

    async def get_by_email(self, normalized: str) -> User | None:
        """Return the user of an address in its normalised form."""
        return await self._by_email.get(normalized)

    async def get_many(self, ids: Iterable[str]) -> dict[str, User | RecordUnreadable]:
        """Return the users among the ids, by id, or the errors of those that cannot be read."""
        rows = await self._ids.read_all(list(dict.fromkeys(ids)))
        return dict(await self._slices.map(lambda row: (key(row[0]), or_error(user_of, row)), rows))

    async def _read_ids(self, ids: list[str]) -> dict[str, User | RecordUnreadable]:
        return {key(row[0]): or_error(user_of, row) for row in await self._ids.read(ids)}

    async def _read_emails(self, emails: list[str]) -> dict[str, User | RecordUnreadable]:
        return {key(row[-1]): or_error(user_of, row[:-1]) for row in await self._emails.read(emails)}
