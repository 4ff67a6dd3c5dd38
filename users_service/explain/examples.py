"""Examples of named statements: functions that send them, with arguments as in real calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.slices import Slices
from users_service.explain.values import Values
from users_service.mysql.database import Database
from users_service.mysql.point_reads import PointRead
from users_service.outbox import repository as outbox
from users_service.outbox.model import DELETE_USER_NOTIFICATIONS, OutboxEntry
from users_service.purge.service import RULES, Purge, next_ids
from users_service.seed import repository as seed
from users_service.sessions import listing
from users_service.sessions import repository as sessions
from users_service.sessions.reads import BY_REPLACED_TOKEN, BY_TOKEN
from users_service.tables import users as users_table
from users_service.users import deletion, states
from users_service.users import repository as users
from users_service.users.model import Disablement, UserChanges, UserFilter, UserOrder
from users_service.users.reads import UserReads
from users_service.verifications import repository as verifications

Send = Callable[[AsyncConnection, Database, Values], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Example:
    """A call that sends the statement ``name``, and perhaps others; ``case``: which of its forms."""

    name: str
    call: Send
    case: str = ""
    # Answers to the statements, where the function sends more only if it gets rows.
    rows: Sequence[Any] = ()


def _reads(database: Database) -> UserReads:
    return UserReads(database, Slices())


def _list(wanted: Callable[[Values], UserFilter], *, later: bool, order: UserOrder = UserOrder.NEWEST_FIRST) -> Send:
    def call(connection: AsyncConnection, _database: Database, values: Values) -> Awaitable[Any]:
        after = (values.user.created_at, values.user.id) if later else None
        return users.list_users(connection, wanted(values), 20, after=after, order=order)

    return call


def _changed(values: Values) -> UserFilter:
    return UserFilter(updated_after=values.now)


def _some(values: Values) -> UserFilter:
    return UserFilter(ids=[values.user.id, "a", "b"])


_BY_CHANGE: Final = UserOrder.EARLIEST_CHANGE_FIRST

USERS: Final = (
    Example("users.read_by_id", lambda _, d, v: _reads(d).get(v.user.id)),
    Example("users.read_by_id", lambda _, d, v: _reads(d).get_many([v.user.id] * 3 + ["a", "b"]), "several"),
    Example("users.read_by_email", lambda _, d, v: _reads(d).get_by_email(v.email)),
    Example("users.insert_user", lambda c, _, v: users.insert_user(c, v.user)),
    Example("users.read_user", lambda c, _, v: users.read_user(c, v.user.id)),
    Example("users.read_user", lambda c, _, v: users.read_user(c, v.user.id, lock=True), "locked"),
    Example("users.read_by_email", lambda c, _, v: users.read_by_email(c, v.email)),
    Example("users.lock_by_email", lambda c, _, v: users.lock_by_email(c, v.email)),
    Example("users.list_users", _list(lambda _: UserFilter(), later=False), "first page"),
    Example("users.list_users", _list(lambda _: UserFilter(), later=True), "later page"),
    Example(
        "users.list_users", _list(lambda _: UserFilter(), later=True, order=UserOrder.OLDEST_FIRST), "oldest first"
    ),
    Example("users.list_users", _list(_changed, later=False, order=_BY_CHANGE), "changed since"),
    Example("users.list_users", _list(_changed, later=True, order=_BY_CHANGE), "changed since, later page"),
    Example("users.list_users", _list(_some, later=True), "some ids"),
    Example("users.list_users", _list(lambda _: UserFilter(email_verified=True), later=True), "verified"),
    Example("users.list_users", _list(lambda _: UserFilter(is_disabled=True), later=False), "disabled"),
    Example("users.list_users", _list(lambda _: UserFilter(is_disabled=True), later=True), "disabled, later page"),
    Example("users.list_users", _list(lambda _: UserFilter(is_disabled=False), later=True), "active"),
    Example("users.list_users", _list(lambda v: UserFilter(created_before=v.now), later=True), "created before"),
    Example("users.list_users", _list(lambda _: UserFilter(email_contains="x"), later=False), "part of address"),
    Example("users.count_users", lambda c, *_: users.count_users(c, UserFilter()), "all"),
    Example("users.count_users", lambda c, *_: users.count_users(c, UserFilter(email_verified=True)), "verified"),
    Example("users.count_users", lambda c, *_: users.count_users(c, UserFilter(is_disabled=True)), "disabled"),
    Example("users.count_users", lambda c, *_: users.count_users(c, UserFilter(email_contains="x")), "part of address"),
    Example("users.count_users", lambda c, _, v: users.count_users(c, _changed(v)), "changed since"),
    Example("users.count_users", lambda c, _, v: users.count_users(c, _some(v)), "some ids"),
    Example(
        "users.change_user",
        lambda c, _, v: users.change_user(c, v.user.id, UserChanges(name="n", email="e"), v.now, revision=1),
    ),
    Example("users.disable", lambda c, _, v: states.disable(c, v.user.id, Disablement(), since=v.now, now=v.now)),
    Example("users.enable", lambda c, _, v: states.enable(c, v.user.id, v.now)),
    Example("users.mark_verified", lambda c, _, v: users.mark_verified(c, v.user.id, v.now)),
    Example("users.delete_user", lambda c, _, v: users.delete_user(c, v.user.id)),
    Example(
        "users.delete_everything", lambda c, _, v: deletion.delete_everything(c, v.user, v.now, verifications.void)
    ),
)


def _by_token(database: Database, hashes: list[bytes]) -> Awaitable[Any]:
    return PointRead(database, "sessions.read_by_token", BY_TOKEN).read(hashes)


def _by_replaced(database: Database, hashes: list[bytes]) -> Awaitable[Any]:
    return PointRead(database, "sessions.read_by_replaced_token", BY_REPLACED_TOKEN).read(hashes)


SESSIONS: Final = (
    Example("sessions.read_by_token", lambda _, d, v: _by_token(d, [v.session.token_hash])),
    Example("sessions.read_by_token", lambda _, d, v: _by_token(d, [v.session.token_hash, bytes(32)]), "several"),
    Example("sessions.read_by_replaced_token", lambda _, d, v: _by_replaced(d, [v.session.token_hash, bytes(32)])),
    Example("sessions.insert_session", lambda c, _, v: sessions.insert_session(c, v.session)),
    Example("sessions.insert_guarded", lambda c, _, v: sessions.insert_guarded(c, v.session, "hash")),
    Example("sessions.get", lambda c, _, v: sessions.get(c, v.session.id, v.session.user_id)),
    Example("sessions.extend", lambda c, _, v: sessions.extend(c, v.session, v.now)),
    Example("sessions.touch", lambda c, _, v: sessions.touch(c, v.session, v.now)),
    Example(
        "sessions.replace_token",
        lambda c, _, v: sessions.replace_token(c, v.session, bytes(32), v.now, v.now),
    ),
    Example("sessions.revoke", lambda c, _, v: sessions.revoke(c, v.session.id, v.now, "r", v.session.user_id)),
    Example("sessions.revoke_all", lambda c, _, v: sessions.revoke_all(c, v.session.user_id, v.now, "r", v.session.id)),
    Example("sessions.end_of_disabled", lambda c, _, v: sessions.end_of_disabled(c, v.session.user_id, v.now)),
    Example(
        "sessions.revoke_next",
        lambda c, _, v: sessions.revoke_next(c, v.session.user_id, v.now, "r", limit=2_000),
        rows=[SimpleNamespace(id="sess_1", created_at=None)],
    ),
    Example(
        "sessions.revoke_next",
        lambda c, _, v: sessions.revoke_next(
            c, v.session.user_id, v.now, "r", limit=2_000, after=(v.now, v.session.id)
        ),
        "later batch",
    ),
    Example("sessions.revoke_between", lambda c, _, v: sessions.revoke_between(c, "", v.session.id, v.now, "r")),
    Example("sessions.ids_behind", lambda c, _, v: sessions.ids_behind(c, v.session.id, 1_000)),
    Example("sessions.clients_since", lambda c, _, v: sessions.clients_since(c, v.session.user_id, v.now)),
    Example("sessions.list_live", lambda c, _, v: listing.list_live(c, v.session.user_id, v.now, None, 20)),
    Example(
        "sessions.list_live",
        lambda c, _, v: listing.list_live(c, v.session.user_id, v.now, (v.now, v.session.id), 20),
        "later page",
    ),
    Example("sessions.count_live", lambda c, _, v: listing.count_live(c, v.session.user_id, v.now)),
    Example("sessions.list_all", lambda c, _, v: listing.list_all(c, v.session.user_id, None, 20)),
    Example(
        "sessions.list_all",
        lambda c, _, v: listing.list_all(c, v.session.user_id, (v.now, v.session.id), 20),
        "later page",
    ),
)

OUTBOX: Final = (
    Example("outbox.put", lambda c, _, v: outbox.put(c, DELETE_USER_NOTIFICATIONS, {}, v.now, available_at=v.now)),
    Example(
        "outbox.lease",
        lambda c, _, v: outbox.lease(c, v.now, v.later, 100),
        rows=[SimpleNamespace(id="out_1", kind="", payload="{}", attempts=0)],
    ),
    Example("outbox.remove", lambda c, _, v: outbox.remove(c, [v.entry])),
    Example(
        "outbox.postpone",
        lambda c, _, v: outbox.postpone(c, OutboxEntry(v.entry, "", {}, 1, v.now), v.later),
    ),
    Example("outbox.get", lambda c, _, v: outbox.get(c, v.entry)),
    Example("outbox.waiting", lambda c, *_: outbox.waiting(c, None, 0, 100)),
    Example("outbox.make_due", lambda c, _, v: outbox.make_due(c, [v.entry], None, 0, now=v.now)),
    Example("outbox.cancel", lambda c, _, v: outbox.cancel(c, [v.entry], None, 0)),
    Example("outbox.count", lambda c, *_: outbox.count(c)),
    Example("outbox.backlog", lambda c, *_: outbox.backlog(c), rows=[(0, None)]),
)

COMMANDS: Final = (
    Example("purge.count", lambda _, d, v: Purge(d, keep=timedelta(days=7)).count(v.now)),
    Example("purge.delete", lambda _, d, v: Purge(d, keep=timedelta(days=7)).run(v.now)),
    Example(
        "purge.next_ids",
        lambda c, _, v: next_ids(c, RULES[0], {"after": v.session.id, "cut": v.now, "batch": 1_000}),
    ),
    Example("seed.has_users", lambda c, *_: seed.has_users(c)),
    Example("seed.insert_rows", lambda c, *_: seed.insert_rows(c, {users_table: [{"id": "a", "email": "b"}]})),
)
