"""Examples of the statements that imports and exports send."""

from __future__ import annotations

from typing import Final

from users_service.events import repository as events
from users_service.events.model import UserEventKind
from users_service.explain.examples import Example
from users_service.explain.values import Values
from users_service.exports import repository as exports
from users_service.imports import repository as imports
from users_service.imports.model import Incoming, IncomingAccount
from users_service.tables import users


def _incoming(values: Values) -> Incoming:
    accounts = [IncomingAccount(values.account.provider, values.account.account_id, {}), IncomingAccount("a", "b", {})]
    return Incoming(values.user, values.email, "", accounts, [(0, values.session)])


IMPORTS: Final = (
    Example("imports.find_taken", lambda c, _, v: imports.find_taken(c, [_incoming(v)])),
    Example("imports.find_taken", lambda c, _, v: imports.find_taken(c, [_incoming(v)] * 3), "several"),
    Example("imports.insert_rows", lambda c, *_: imports.insert_rows(c, {users: [{"id": "a", "email": "b"}]})),
    Example(
        "events.record_all",
        lambda c, _, v: events.record_all(c, UserEventKind.CREATED, [(v.user.id, 1)] * 2, v.now),
    ),
)

EXPORTS: Final = (
    Example("exports.page_of_users", lambda c, _, v: exports.page_of_users(c, v.user.id, 500)),
    Example("exports.accounts_between", lambda c, _, v: exports.accounts_between(c, v.user.id, v.user.id)),
    Example("exports.sessions_between", lambda c, _, v: exports.sessions_between(c, v.user.id, v.user.id, v.now)),
    Example(
        "exports.outstanding_verifications",
        lambda c, _, v: exports.outstanding_verifications(c, v.user.id, v.verification.identifier, v.now),
    ),
)
