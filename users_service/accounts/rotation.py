"""Key rotation of provider tokens: each when it is read, and all of them by command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chassis.commands.left import Left
from chassis.errors import Aborted, Unavailable
from chassis.logs import logging
from users_service.accounts import repository
from users_service.accounts.model import Account
from users_service.accounts.tokens import TokenCipher
from users_service.errors import EncryptionKeyMissing, RecordUnreadable
from users_service.mysql.database import Database

BATCH = 500

log = logging.get(__name__)


@dataclass(slots=True)
class Rotated:
    """Numbers of accounts that a rotation found."""

    # Now under the newest key.
    rotated: int = 0
    # Brought under the newest key, or removed, by somebody else meanwhile.
    overtaken: int = 0
    # Under a key that is not configured.
    keyless: Left = field(default_factory=Left)
    # Damaged, or with tokens of another system that do not fit encrypted.
    unreadable: Left = field(default_factory=Left)
    # Locked by others for all the time that a statement waits.
    locked: Left = field(default_factory=Left)


class TokenRotation:
    """Re-encrypts tokens beside live traffic: a row that changed meanwhile is never overwritten."""

    def __init__(self, database: Database, cipher: TokenCipher) -> None:
        self._database = database
        self._cipher = cipher

    async def refresh(self, account: Account) -> None:
        """Re-encrypt the tokens just read, if they are under an older key. After a failure the next reader tries."""
        if self._cipher.is_current(account):
            return
        try:
            await self._exchange(account)
        except (Aborted, Unavailable, RecordUnreadable) as error:
            log.info("tokens stay as they are for now", account_id=account.id, reason=error.reason)

    async def rotate(self, progress: Callable[[int], None] = lambda _: None) -> Rotated:
        """Look through all accounts, in order of id, and re-encrypt the tokens that are under another key.

        ``progress`` gets the number of accounts that each step looked at. After an interruption it can be started
        again: accounts under the newest key are skipped. One that cannot be re-encrypted is counted, left as it is, and
        holds up no other. Raises DatabaseUnavailable.
        """
        result, after = Rotated(), ""
        while batch := await self._look_through(after):
            for id_, account in await self._read([id_ for id_, outdated in batch if outdated]):
                await self._rotate_one(id_, account, result)
            after = batch[-1][0]
            progress(len(batch))
        return result

    async def estimate(self) -> int:
        """Return about how many accounts ``rotate`` looks at."""
        return await self._database.query(repository.estimate)

    async def _look_through(self, after: str) -> list[tuple[str, bool]]:
        return await self._database.query(
            lambda connection: repository.look_through(connection, self._cipher.primary, after, BATCH)
        )

    async def _read(self, ids: list[str]) -> list[tuple[str, Account | RecordUnreadable]]:
        if not ids:
            return []
        return await self._database.query(lambda connection: repository.get_many(connection, ids))

    async def _rotate_one(self, id_: str, account: Account | RecordUnreadable, result: Rotated) -> None:
        if isinstance(account, RecordUnreadable):
            result.unreadable.add(id_)
            return
        try:
            if await self._rotated(account):
                result.rotated += 1
            else:
                result.overtaken += 1
        except EncryptionKeyMissing:
            result.keyless.add(id_)
        except RecordUnreadable:
            result.unreadable.add(id_)
        except Aborted:
            result.locked.add(id_)

    async def _rotated(self, found: Account) -> bool:
        """Bring an account under the newest key; False where somebody else did, or removed it."""
        account: Account | None = found
        while account is not None and not self._cipher.is_current(account):
            if await self._exchange(account):
                return True
            # Changed meanwhile, perhaps by a process that still has another newest key.
            account = await self._reread(account)
        return False

    async def _reread(self, account: Account) -> Account | None:
        return await self._database.query(lambda connection: repository.get(connection, account.user_id, account.id))

    async def _exchange(self, account: Account) -> bool:
        values = self._cipher.resealed(account)
        return await self._database.transaction(
            lambda connection: repository.exchange_tokens(connection, account, values)
        )
