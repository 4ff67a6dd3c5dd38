"""Nearly valid users by hypothesis: no import fails as a whole, and what comes in can be read."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vibework.users.v1 import imported_user_pb2 as pb
from vibework.users.v1 import user_service_pb2

from tests.harness.users import BlockingStubs, UsersServer
from tests.integration.users.imports.coming_in import HASH, said

REASONS = {
    "EMAIL_TAKEN",
    "PASSWORD_HASH_UNSUPPORTED",
    "ACCOUNT_ALREADY_LINKED",
    "SESSION_TOKEN_TAKEN",
    "INVALID_FIELDS",
}
# Few of each, so that users are in each other's way; some that are nearly right.
TEXTS = st.sampled_from(["", "a", "a ", "ü", "\x00", "x" * 255, "x" * 256, "\U0010ffff", "%s", "'"])
NUMBERS = st.sampled_from([0, 1, 2**31 - 1, 2**31, -1, 1_700_000_000, 1_800_000_000, -62_135_596_800, 2**62])
TIMES = st.one_of(
    st.none(),
    st.builds(lambda s, n: {"seconds": s, "nanos": n}, NUMBERS, st.sampled_from([0, 1, -1, 999_999_999, 10**9])),
)
EMAILS = st.sampled_from(
    ["a", "@example.com", "A@Example.com", "a@example.com", "b@example.com", "c@x.org", " a@x.org", "\u0131@x.org"]
)
HASHES = st.sampled_from(
    ["", HASH, "x" * 20, "$2b$04$" + "x" * 53, "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"]
)
TOKENS = st.builds(
    lambda tokens, expires: {"access_token": tokens, "id_token": tokens, "access_token_expires_at": expires},
    TEXTS,
    TIMES,
)
ACCOUNTS = st.builds(
    lambda provider, account_id, tokens, created, verified: {
        "account": {"provider": provider, "account_id": account_id, "tokens": tokens},
        "created_at": created,
        "email_verified": verified,
    },
    st.sampled_from(["google", "credential", "", "Google"]),
    TEXTS,
    TOKENS,
    TIMES,
    st.booleans(),
)
SESSIONS = st.builds(
    lambda secret, expires, created, ip: {**secret, "expires_at": expires, "created_at": created, "ip_address": ip},
    st.sampled_from(
        [{}, {"session_token": "t"}, {"session_token": "u"}, {"token_sha256": b"x" * 32}, {"token_sha256": b""}]
    ),
    TIMES,
    TIMES,
    st.sampled_from(["", "::1", "fe80::1%eth0", "1.2.3.4", "x"]),
)
USERS = st.builds(
    pb.ImportedUser,
    id=TEXTS,
    email=EMAILS,
    email_verified=st.booleans(),
    name=TEXTS,
    image=st.sampled_from(["", "https://x.org/a.png", "x"]),
    created_at=TIMES,
    updated_at=TIMES,
    password_hash=HASHES,
    accounts=st.lists(ACCOUNTS, max_size=2),
    sessions=st.lists(SESSIONS, max_size=2),
    disabled=st.one_of(st.none(), st.builds(lambda r, a, u: {"reason": r, "at": a, "until": u}, TEXTS, TIMES, TIMES)),
)


@pytest.mark.timeout(600)
def test_nearly_valid_users_end_one_by_one_and_twice_alike(users_server: UsersServer) -> None:
    """No user fails a call; each is imported, there or refused for a reason; a second run imports nobody more."""
    with users_server.channel() as channel:
        stubs: Any = BlockingStubs.on(channel)

        def outcomes(messages: list[pb.ImportedUser], *, validate_only: bool = False) -> list[tuple[str, str, str]]:
            request = user_service_pb2.ImportUsersRequest(users=messages, validate_only=validate_only)
            return [said(outcome) for outcome in stubs.users.ImportUsers(request).outcomes]

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(USERS, min_size=1, max_size=6))
        def run(messages: list[pb.ImportedUser]) -> None:
            _apart(messages)
            tried = outcomes(messages, validate_only=True)
            first = outcomes(messages)
            second = outcomes(messages)
            assert first == tried
            assert {result for result, _, _ in second} <= {"ALREADY_THERE", "REFUSED"}
            for message, outcome, after in zip(messages, first, second, strict=True):
                result, reason, field = outcome
                assert (result == "REFUSED") == (reason in REASONS) == bool(field)
                if result == "IMPORTED":
                    assert after == ("ALREADY_THERE", "", "")
                    found = stubs.users.GetUser(user_service_pb2.GetUserRequest(id=message.id)).user
                    json_format.MessageToJson(found)
                    assert (found.id, found.email, found.name) == (message.id, message.email, message.name)

        run()


def _apart(messages: list[pb.ImportedUser]) -> None:
    """Let most examples begin with users whom nobody knows yet."""
    run = uuid4().hex[:8]
    for message in messages:
        if message.id and len(message.id) < 200:
            message.id = f"{run}{message.id}"
        if message.email.startswith(("a@", "A@", "b@", "c@")):
            message.email = f"{run}{message.email}"
        for account in message.accounts:
            if account.account.account_id and len(account.account.account_id) < 200:
                account.account.account_id = f"{run}{account.account.account_id}"
