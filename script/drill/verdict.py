"""Comparing what was restored with what was acknowledged before the snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncmy
import pymongo

from script.drill.ledger import Kind, Ledger
from script.drill.writers import BATCH

# Each user with its name, and whether what is written with it is there.
_USERS = (
    "SELECT email, COALESCE(name, '0'), EXISTS (SELECT 1 FROM accounts WHERE user_id = users.id),"
    " EXISTS (SELECT 1 FROM sessions WHERE user_id = users.id) FROM users"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that had to hold: over how many, and how many broke it."""

    what: str
    over: int
    broken: int

    @property
    def holds(self) -> bool:
        """Whether it holds; over nothing, nothing is proved."""
        return self.over > 0 and self.broken == 0


async def judge_users(ledger: Ledger, taken_at: datetime, environment: Mapping[str, str]) -> list[Verdict]:
    """Judge the restored database that the settings in ``environment`` name."""
    rows = await _users(environment)
    halves = sum(not (has_account and has_session) for _email, _version, has_account, has_session in rows)
    versions = {email: int(version) for email, version, *_ in rows}
    return [
        _kept(ledger, taken_at, Kind.SIGN_UP, dict.fromkeys(versions, 1)),
        Verdict("users without an account or a session", len(rows), halves),
        _kept(ledger, taken_at, Kind.UPDATE, versions),
    ]


def judge_notifications(ledger: Ledger, taken_at: datetime, url: str) -> list[Verdict]:
    """Judge the restored database that the URL names."""
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        group = {"_id": "$category", "all": {"$sum": 1}, "read": {"$sum": {"$cond": ["$read", 1, 0]}}}
        batches = list(client.get_default_database()["notifications"].aggregate([{"$group": group}]))
    whole = {batch["_id"]: 1 for batch in batches if batch["all"] == BATCH}
    read = {batch["_id"]: 1 for batch in batches if batch["read"] == BATCH}
    return [
        _kept(ledger, taken_at, Kind.BATCH, whole),
        Verdict("batches that are there in part", len(batches), len(batches) - len(whole)),
        _kept(ledger, taken_at, Kind.MARK, read),
    ]


def went_on(ledger: Ledger, taken_at: datetime) -> Verdict:
    """Judge whether writes went on after the snapshot: else it was not taken under load."""
    return Verdict("writes that went on meanwhile", ledger.after(taken_at), 0)


def _kept(ledger: Ledger, taken_at: datetime, kind: Kind, found: Mapping[str, int]) -> Verdict:
    expected = ledger.before(taken_at, kind)
    lost = sum(found.get(key, 0) < value for key, value in expected.items())
    return Verdict(f"{kind} acknowledged before", len(expected), lost)


async def _users(environment: Mapping[str, str]) -> list[tuple[Any, ...]]:
    connection = await asyncmy.connect(
        host=environment["MYSQL_HOST"],
        port=int(environment["MYSQL_PORT"]),
        user=environment["MYSQL_USER"],
        password=environment["MYSQL_PASSWORD"],
        db=environment["MYSQL_DATABASE"],
    )
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(_USERS)
            return list(await cursor.fetchall())
    finally:
        await connection.ensure_closed()


def table(verdicts: list[Verdict]) -> str:
    """Return the verdicts for people to read."""
    width = max(len(verdict.what) for verdict in verdicts)
    lines = [
        f"{'holds' if verdict.holds else 'BROKEN':6}  {verdict.what:<{width}}  {verdict.over:>7,}  {verdict.broken:>6,}"
        for verdict in verdicts
    ]
    return "\n".join([f"{'':6}  {'':<{width}}  {'over':>7}  {'broken':>6}", *lines])
