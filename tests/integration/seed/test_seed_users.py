"""`users-service seed`: what it makes up is valid to every rule of the service, and is told from real data."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import protovalidate
import pytest
from vibework.users.v1 import account_service_pb2, session_service_pb2, user_service_pb2
from vibework.users.v1.user_pb2 import User

from chassis.keyring import Keyring
from tests.harness.databases import MySQLDatabase
from tests.harness.users import SECRET_KEYS, BlockingStubs, UsersServer, users_service
from tests.integration.seed.conftest import Seed
from users_service.accounts.tokens import TokenCipher
from users_service.seed.accounts import Accounts
from users_service.seed.service import RowsByTable, Seeding, SeedPlan
from users_service.seed.verifications import Verifications
from users_service.verifications.secrets import SecretHasher

# One process seeds for all tests of the module.
pytestmark = pytest.mark.xdist_group("seed-users")

USERS = 600
PASSWORD = "made up for all"
EXAMPLE_DOMAINS = re.compile(r"@(?:[a-z]+\.)?example\.(?:com|net|org)$")
DOCUMENTATION = [
    ipaddress.ip_network(block) for block in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]


@pytest.fixture(scope="module")
def server(mysql_module_database: MySQLDatabase, seed_users: Seed) -> Iterator[UsersServer]:
    """The users service on a database that the command has filled."""
    done = seed_users(mysql_module_database.environment(), "--users", str(USERS), "--password", PASSWORD)
    assert done.exit_code == 0, done.output
    assert f"users: {USERS}\n" in done.output
    with users_service(mysql_module_database) as served:
        yield served


@pytest.fixture(scope="module")
def stubs(server: UsersServer) -> Iterator[BlockingStubs]:
    """The service's stubs."""
    with server.channel() as channel:
        yield BlockingStubs.on(channel)


@pytest.fixture(scope="module")
def people(stubs: BlockingStubs) -> list[User]:
    """All users, as the service lists them."""
    found: list[User] = []
    request = user_service_pb2.ListUsersRequest(page_size=100)
    while True:
        page = stubs.users.ListUsers(request)
        found.extend(page.users)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def test_every_user_is_listed_and_could_have_signed_up(people: list[User]) -> None:
    """Each made-up user passes the rules of the contract, has an address nobody owns, and was there before now."""
    assert len({user.email for user in people}) == len(people) == USERS
    for user in people:
        request = user_service_pb2.CreateUserRequest(email=user.email, name=user.name, image=user.image)
        assert protovalidate.collect_violations(request) == []
        assert EXAMPLE_DOMAINS.search(user.email)
        assert user.created_at.ToDatetime(UTC) <= user.updated_at.ToDatetime(UTC) <= datetime.now(UTC)


def test_whoever_has_a_password_signs_in_with_the_one_told(server: UsersServer, stubs: BlockingStubs) -> None:
    """The password that the command prints is that of everyone who has one."""
    emails = server.rows("SELECT email FROM users JOIN accounts ON user_id = users.id WHERE password IS NOT NULL")
    assert len(emails) > USERS / 2
    for (email,) in emails[:3]:
        client = session_service_pb2.SignInRequest(email=email, password=PASSWORD)
        assert stubs.sessions.SignIn(client).session_token


def test_tokens_open_under_the_keys_of_the_service(server: UsersServer, stubs: BlockingStubs) -> None:
    """Provider tokens are encrypted as real ones are, so that reading and rotating them can be tried."""
    found = server.rows("SELECT user_id, id FROM accounts WHERE token_key_id IS NOT NULL LIMIT 5")
    assert len(found) == 5
    for user_id, id_ in found:
        tokens = stubs.accounts.GetAccountTokens(
            account_service_pb2.GetAccountTokensRequest(user_id=user_id, id=id_)
        ).tokens
        assert tokens.access_token.startswith("fake-access-")


def test_sessions_of_every_fate_keep_their_rules(server: UsersServer) -> None:
    """Live, expired and revoked sessions are there; no time contradicts another; addresses are documentation's."""
    counts = server.rows(
        "SELECT SUM(revoked_at IS NULL AND expires_at > NOW(6)), SUM(expires_at <= NOW(6)),"
        " SUM(revoked_at IS NOT NULL), SUM(do_not_remember) FROM sessions"
    )[0]
    assert all(count > 20 for count in counts), counts
    assert server.rows(
        "SELECT sessions.id FROM sessions JOIN users ON users.id = user_id WHERE sessions.created_at < users.created_at"
        " OR extended_at < sessions.created_at OR last_seen_at < extended_at OR expires_at > absolute_expires_at"
        " OR last_seen_at > LEAST(NOW(6), expires_at) OR revoked_at NOT BETWEEN last_seen_at AND NOW(6)"
    ) == []  # fmt: skip
    addresses = {
        ipaddress.ip_address(row[0]) for row in server.rows("SELECT ip_address FROM sessions WHERE ip_address <> ''")
    }
    assert {address.version for address in addresses} == {4, 6}
    assert [address for address in addresses if not any(address in block for block in DOCUMENTATION)] == []


def test_no_row_lacks_its_user_and_verifications_come_in_both_kinds(server: UsersServer) -> None:
    """Whoever has no password has a provider, and codes and tokens are there, some of them expired."""
    assert server.rows("SELECT id FROM users WHERE id NOT IN (SELECT user_id FROM accounts)") == []
    kinds = server.rows("SELECT kind, COUNT(*) FROM verifications GROUP BY kind ORDER BY kind")
    assert [kind for kind, _ in kinds] == ["code", "token"]
    expired, good = server.rows("SELECT SUM(expires_at <= NOW(6)), SUM(expires_at > NOW(6)) FROM verifications")[0]
    assert min(expired, good) > 0


@pytest.mark.long
def test_a_database_with_users_is_left_alone(mysql_database: MySQLDatabase, seed_users: Seed) -> None:
    """Without --append nothing is put beside real users; with it another seed is, and the same seed is refused."""
    settings = mysql_database.environment()
    assert seed_users(settings, "--users", "10").exit_code == 0
    refused = seed_users(settings, "--users", "10", "--seed", "2")
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "--append" in refused.output
    again = seed_users(settings, "--users", "10", "--append")
    assert (again.exit_code, again.output) == (1, "users of seed 1 are there already: name another --seed\n")
    added = seed_users(settings, "--users", "10", "--seed", "2", "--append")
    assert "users: 10\n" in added.output


def test_the_same_seed_makes_up_the_same_people() -> None:
    """Two runs as of one time differ only in what must not be repeated: encryption and secrets."""
    keyring = Keyring.parse(SECRET_KEYS)
    # Making rows up asks no database.
    seeding = Seeding(None, Accounts(TokenCipher(keyring), "hash"), Verifications(SecretHasher(keyring)))  # type: ignore[arg-type]

    def rows(seed: int) -> list[list[dict[str, object]]]:
        plan = SeedPlan(users=300, seed=seed, as_of=datetime(2026, 1, 1, tzinfo=UTC))
        return [_repeatable(batch) for batch in seeding.batches(plan)]

    assert rows(7) == rows(7)
    assert rows(7) != rows(8)


def _repeatable(batch: RowsByTable) -> list[dict[str, object]]:
    drawn_anew = {"access_token", "refresh_token", "value"}
    return [
        {name: value for name, value in row.items() if name not in drawn_anew}
        for rows in batch.values()
        for row in rows
    ]
