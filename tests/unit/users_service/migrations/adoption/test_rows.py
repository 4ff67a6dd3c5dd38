"""Conversion of other systems' rows: what comes out of one, and which values are refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vibework.users.v1.user_service_pb2 import CreateUserRequest

from chassis.errors import InvalidFields
from chassis.interceptors.validation import check_of
from chassis.keyring import Keyring
from tests.harness.users import SECRET_KEYS
from users_service.accounts.model import Account
from users_service.accounts.tokens import TokenCipher
from users_service.migrations.adoption.rows import LeftOut, Rows, Unfit

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CIPHER = TokenCipher(Keyring.parse(SECRET_KEYS))
_create = check_of(CreateUserRequest)


@pytest.fixture
def rows() -> Rows:
    """The rows of an adoption at one time."""
    return Rows(CIPHER, NOW)


def naive(**before: float) -> datetime:
    """Return a time so long before now, as the driver reads it."""
    return (NOW - timedelta(**before)).replace(tzinfo=None)


def user(**changed: Any) -> dict[str, Any]:
    """Make a row of a user, as it is read."""
    return {"id": "u1", "email": "Ada@Example.com", "name": "Ada", "image": None, "created_at": naive(days=9)} | changed


def session(**changed: Any) -> dict[str, Any]:
    """Make a row of a session, as it is read."""
    times = {"created_at": naive(days=3), "updated_at": naive(days=1), "expires_at": naive(days=-6)}
    return {"id": "s1", "token": "what the client holds", "user_id": "U1", "owner": "u1", **times} | changed


def account(**changed: Any) -> dict[str, Any]:
    """Make a row of an account, as it is read."""
    own = {"id": "a1", "owner": "u1", "provider": "google", "account_id": "g1", "created_at": naive(days=9)}
    return {**own, "access_token": "access", "refresh_token": "", "id_token": None, "password": None} | changed


def test_a_user_keeps_id_address_and_times(rows: Rows) -> None:
    """The address is stored as it was, and found in its normalised form; a time that is not known is now."""
    made = rows.user(user())
    assert (made["id"], made["email"], made["email_normalized"]) == ("u1", "Ada@Example.com", "ada@example.com")
    assert made["created_at"] == made["updated_at"] == NOW - timedelta(days=9)
    assert rows.user(user(created_at=None))["created_at"] == NOW


def passes(email: str) -> bool:
    """Say whether a call with this address would be let in."""
    try:
        _create(CreateUserRequest(email=email))
    except InvalidFields:
        return False
    return True


LETTERS = "aZ09.!#$%&'*+/=?^_`{|}~-@ \u00e9\u212a,;\\\""


@given(
    st.text(LETTERS, max_size=12)
    | st.emails()
    | st.builds("{}@{}".format, st.text(LETTERS[:28], max_size=8), st.text("aZ09-.", max_size=70))
)
def test_an_address_is_adopted_where_its_user_could_be_created(email: str) -> None:
    """The rule here is that by which every call is checked."""
    try:
        Rows(CIPHER, NOW).user(user(email=email))
    except Unfit:
        assert not passes(email)
    else:
        assert passes(email)


def test_a_session_stays_open_for_as_long_as_it_was_to(rows: Rows) -> None:
    """Only the token's SHA-256 is kept, the user is spelt as in the user's own row, and the id is a new one."""
    made = rows.session(session())
    assert made["token_hash"] == hashlib.sha256(b"what the client holds").digest()
    assert made["user_id"] == "u1"
    assert made["id"].startswith("sess_")
    assert made["expires_at"] == NOW + timedelta(days=6)
    assert made["absolute_expires_at"] == NOW + timedelta(days=27)
    assert made["extended_at"] == NOW - timedelta(days=1)
    old = rows.session(session(created_at=naive(days=300)))
    assert old["absolute_expires_at"] == old["expires_at"] == NOW + timedelta(days=6)


@pytest.mark.parametrize(
    "changed",
    [
        {"expires_at": naive(seconds=1)},
        {"owner": None},
        {"impersonated_by": "u2"},
        {"owner_banned": 1},
        {"owner_banned": 1, "owner_ban_expires": naive(days=-1)},
    ],
)
def test_sessions_that_let_nobody_in_are_left(rows: Rows, changed: dict[str, Any]) -> None:
    """None that is over, of nobody, or not the user's own becomes valid."""
    with pytest.raises(LeftOut):
        rows.session(session(**changed))


def test_what_is_shown_of_a_device_never_stops_a_session(rows: Rows) -> None:
    """It lives for weeks at most: a long user agent is cut, and an address that is none is left out."""
    made = rows.session(session(ip_address="unknown", user_agent="x" * 600))
    assert (made["ip_address"], len(made["user_agent"])) == (None, 512)
    assert rows.session(session(ip_address="2001:db8::1%eth0"))["ip_address"] == "2001:db8::1"


def test_tokens_are_sealed_for_their_account(rows: Rows) -> None:
    """What is stored opens under the ring, for this account alone; what is empty stays unset."""
    made = rows.account(account(expires_at=datetime(2030, 1, 1)))  # noqa: DTZ001 - as the driver reads it
    stored = {name: made[name] for name in ("access_token", "refresh_token", "id_token", "token_key_id", "expires_at")}
    unset: dict[str, Any] = dict.fromkeys(("scope", "refresh_token_expires_at"))
    whole = Account("a1", "u1", "g1", "google", revision=1, created_at=NOW, updated_at=NOW, **stored, **unset)
    opened = CIPHER.opened(whole)
    assert (opened.access_token, opened.refresh_token, opened.id_token) == ("access", None, None)
    assert (made["token_key_id"], made["expires_at"]) == ("test-key", 1_893_456_000)


@pytest.mark.parametrize(
    ("stored", "seconds"), [(None, None), (1_893_456_000, 1_893_456_000), (1_893_456_000_000, 1_893_456_000)]
)
def test_an_end_of_a_token_is_in_seconds(rows: Rows, stored: int | None, seconds: int | None) -> None:
    """JavaScript's milliseconds are told from seconds."""
    assert rows.account(account(expires_at=stored))["expires_at"] == seconds


def test_a_password_is_signed_in_with_whatever_its_provider_is_called(rows: Rows) -> None:
    """There is one name for it here, with the user's own id."""
    key = "0" * 128
    made = rows.account(account(provider="email", account_id="ada", password=f"{'0' * 32}:{key}"))
    assert (made["provider"], made["account_id"], made["password"]) == ("credential", "u1", f"{'0' * 32}:{key}")
