"""Conflicts of users who come in with those who are there, and with each other: who has what must be unique."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from vibework.errors.v1.error_reason_pb2 import (
    ERROR_REASON_ACCOUNT_ALREADY_LINKED,
    ERROR_REASON_EMAIL_TAKEN,
    ERROR_REASON_INVALID_FIELDS,
    ERROR_REASON_SESSION_TOKEN_TAKEN,
)

from users_service.accounts.repository import PROVIDER_KEYS
from users_service.imports.model import ImportOutcome, ImportResult, Incoming, Judged, Refusal
from users_service.users.repository import EMAIL_KEYS

# What the refusal of a unique key means, where no look-up has found the row that has the value: a collation under which
# different texts are equal, of a database that another system created. Of each the reason and the field.
OF_KEYS: Final = {
    # MariaDB does not say of which table.
    **dict.fromkeys(
        ("PRIMARY", *(f"{table}.PRIMARY" for table in ("users", "accounts", "sessions"))),
        (ERROR_REASON_INVALID_FIELDS, "id"),
    ),
    **dict.fromkeys(EMAIL_KEYS, (ERROR_REASON_EMAIL_TAKEN, "email")),
    **dict.fromkeys(PROVIDER_KEYS, (ERROR_REASON_ACCOUNT_ALREADY_LINKED, "accounts")),
    **dict.fromkeys(("uniq_token_hash", "token_lookup.PRIMARY"), (ERROR_REASON_SESSION_TOKEN_TAKEN, "sessions")),
}


@dataclass(slots=True)
class Taken:
    """What is taken: by users who are there, and by those of the request who were let in."""

    ids: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    accounts: set[tuple[str, str]] = field(default_factory=set)
    tokens: set[bytes] = field(default_factory=set)

    def __or__(self, other: Taken) -> Taken:
        return Taken(
            self.ids | other.ids,
            self.emails | other.emails,
            self.accounts | other.accounts,
            self.tokens | other.tokens,
        )

    def admit(self, judged: Judged) -> ImportOutcome:
        """Say what becomes of a user; what one who is let in has is taken from now on."""
        if isinstance(judged, Refusal):
            return ImportOutcome(judged.id, ImportResult.REFUSED, judged)
        id_ = judged.user.id
        if id_ in self.ids:
            return ImportOutcome(id_, ImportResult.ALREADY_THERE)
        if (refusal := self._conflict(judged)) is not None:
            return ImportOutcome(id_, ImportResult.REFUSED, refusal)
        self._take(judged)
        return ImportOutcome(id_, ImportResult.IMPORTED)

    def _conflict(self, incoming: Incoming) -> Refusal | None:
        id_ = incoming.user.id
        if incoming.email_normalized in self.emails:
            return Refusal(id_, ERROR_REASON_EMAIL_TAKEN, "email")
        own: set[object] = set()
        for number, account in enumerate(incoming.accounts):
            pair = (account.provider, account.account_id)
            if pair in self.accounts or pair in own:
                return Refusal(id_, ERROR_REASON_ACCOUNT_ALREADY_LINKED, f"accounts[{number}]")
            own.add(pair)
        for number, session in incoming.sessions:
            if session.token_hash in self.tokens or session.token_hash in own:
                return Refusal(id_, ERROR_REASON_SESSION_TOKEN_TAKEN, f"sessions[{number}]")
            own.add(session.token_hash)
        return None

    def _take(self, incoming: Incoming) -> None:
        self.ids.add(incoming.user.id)
        self.emails.add(incoming.email_normalized)
        self.accounts.update((account.provider, account.account_id) for account in incoming.accounts)
        self.tokens.update(incoming.token_hashes)


def refused_by(key: str, incoming: Incoming) -> ImportOutcome:
    """Return the outcome of a user whom a unique key refuses again and again, though nothing found has the value."""
    reason, where = OF_KEYS[key]
    id_ = incoming.user.id
    return ImportOutcome(id_, ImportResult.REFUSED, Refusal(id_, reason, where))
