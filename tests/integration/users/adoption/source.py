"""The source's own tables with people in them: as its SQL makes them, and rows as its code wrote them."""

from __future__ import annotations

import hashlib
from typing import Final

import bcrypt

from tests.harness.databases import MySQLDatabase
from tests.integration.users.adoption.adopting import Person, rows
from tests.integration.users.other_systems import SOURCE

FAR: Final = "UTC_TIMESTAMP() + INTERVAL 6 DAY"
_SALT: Final = "00112233445566778899aabbccddeeff"

PEOPLE: Final = [
    Person("user_1", "Ada@Example.com", "correct horse battery", ["session of ada"]),
    Person("user_2", "ben@example.com", "Grüße aus Köln 7", ["session of ben", "SESSION of Ben, too"]),
    Person("user_3", "cleo@example.com", "", ["session of cleo"], "google-cleo"),
]


def source(database: MySQLDatabase, collation: str = "utf8mb4_bin") -> list[Person]:
    """Make the tables in a collation, with people whose passwords are in either table."""
    rows(database, f"ALTER DATABASE `{database.name}` COLLATE {collation}")
    for statement in SOURCE:
        rows(database, statement)
    ada, ben, cleo = PEOPLE
    legacy = bcrypt.hashpw(ada.password.encode(), bcrypt.gensalt(4)).decode()
    _insert(database, "users", id=ada.id, email=ada.email, name="Ada", password_hash=legacy)
    _insert(database, "users", id=ben.id, email=ben.email, name="Ben Öztürk")
    _insert(database, "users", id=cleo.id, email=cleo.email, image="https://example.com/cleo.png")
    key = hashlib.scrypt(ben.password.encode(), salt=_SALT.encode(), n=16_384, r=16, p=1, dklen=64, maxmem=1 << 26)
    own = {"account_id": ben.id, "provider": "credential", "password": f"{_SALT}:{key.hex()}"}
    _insert(database, "accounts", id="acct_1", user_id=ben.id, **own)
    tokens = {f"{name}_token": f"{name}-token-of-cleo" for name in ("access", "refresh", "id")}
    linked = {"account_id": cleo.account, "provider": "google", **tokens}
    # Milliseconds, as JavaScript's clock tells them.
    _insert(database, "accounts", id="acct_2", user_id=cleo.id, expires_at="1893456000000", **linked)
    for person in PEOPLE:
        for token in person.tokens:
            rows(database, f"INSERT INTO sessions (id, user_id, expires_at) VALUES ('{token}', '{person.id}', {FAR})")
    rows(
        database,
        f"INSERT INTO sessions (id, user_id, expires_at) VALUES ('over', '{ada.id}', UTC_TIMESTAMP() - INTERVAL 1 DAY)",
    )
    _insert(database, "verifications", id="vrf_1", identifier=ben.email, value="123456", expires_at="2030-01-01")
    return PEOPLE


def _insert(database: MySQLDatabase, table: str, **values: str) -> None:
    quoted = ", ".join(f"'{value}'" for value in values.values())
    rows(database, f"INSERT INTO {table} ({', '.join(values)}) VALUES ({quoted})")
