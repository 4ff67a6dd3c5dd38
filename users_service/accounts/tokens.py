"""Provider tokens at rest: AES-256-GCM, bound to their account and column, under keys that rotate."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from users_service.accounts.model import Account, Tokens
from users_service.errors import EncryptionKeyMissing, RecordUnreadable
from users_service.mysql.rows import unreadable

ENCRYPTED: Final = ("access_token", "refresh_token", "id_token")
# What is stored of a token can be anything: other systems write to the table, too.
DAMAGED: Final = (CiphertextInvalid, ValueError)


class TokenCipher:
    """Seals tokens under the newest key and opens them under any key of the ring."""

    def __init__(self, keyring: Keyring) -> None:
        self._cipher = keyring.cipher("account-tokens")
        self.primary = keyring.primary

    def columns(self, id_: str, tokens: Tokens) -> dict[str, Any]:
        """Return the columns to store for a new account; what is not given is left out."""
        columns = {name: self._sealed(id_, name, value) for name, value in _given(tokens).items()}
        return self._with_key(columns)

    def merged(self, account: Account, tokens: Tokens) -> dict[str, Any]:
        """Return the columns that change when ``tokens`` replace those of the account; what is not given stays.

        The tokens that stay are re-encrypted under the newest key. Where their own key is missing, or they are damaged,
        they are left alone, and the row keeps the id of that key, so that a rotation finds it once the key is back.
        """
        changed = self.columns(account.id, tokens)
        try:
            kept = self._resealed(account, [name for name in ENCRYPTED if name not in changed])
        except (EncryptionKeyMissing, RecordUnreadable):
            return {**changed, "token_key_id": account.token_key_id}
        return self._with_key(changed | kept)

    def opened(self, account: Account) -> Tokens:
        """Return an account's tokens in plain text. Raises EncryptionKeyMissing or RecordUnreadable."""
        plain = {name: self._opened(account, name) for name in ENCRYPTED}
        return Tokens(
            **plain,
            expires_at=account.expires_at,
            refresh_token_expires_at=account.refresh_token_expires_at,
            scope=account.scope,
        )

    def is_current(self, account: Account) -> bool:
        """Whether the account's tokens are under the newest key, or there are none."""
        return account.token_key_id == self.primary or not account.has_tokens

    def resealed(self, account: Account) -> dict[str, Any]:
        """Return the columns with the same tokens under the newest key.

        Raises EncryptionKeyMissing or RecordUnreadable.
        """
        return self._with_key(self._resealed(account, ENCRYPTED))

    def _resealed(self, account: Account, names: Iterable[str]) -> dict[str, Any]:
        return {name: self._sealed(account.id, name, self._opened(account, name)) for name in names}

    def _with_key(self, columns: dict[str, Any]) -> dict[str, Any]:
        sealed = any(columns.get(name) is not None for name in ENCRYPTED)
        return {**columns, "token_key_id": self.primary} if sealed else columns

    def _sealed(self, id_: str, name: str, value: Any) -> Any:
        if name not in ENCRYPTED or value is None:
            return value
        return base64.b64encode(self._cipher.encrypt(value.encode(), _associated(id_, name))).decode()

    def _opened(self, account: Account, name: str) -> str | None:
        stored: str | None = getattr(account, name)
        if stored is None or account.token_key_id is None:
            return stored
        try:
            return self._cipher.decrypt(base64.b64decode(stored), _associated(account.id, name)).decode()
        except KeyMissing:
            raise EncryptionKeyMissing from None
        except DAMAGED as problem:
            raise unreadable("accounts", account.id, problem) from None


def _given(tokens: Tokens) -> dict[str, Any]:
    return {name: value for name, value in asdict(tokens).items() if value not in (None, "")}


def _associated(id_: str, name: str) -> bytes:
    # A ciphertext moved to another account or column does not open.
    return f"{id_}/{name}".encode()
