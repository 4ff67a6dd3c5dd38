"""Whether the time of a refused sign-in tells if the email is known.

A measurement, not a gate: it needs a quiet machine.
Run with `script/test -m bench tests/bench/test_sign_in_timing.py -s`.
"""

from __future__ import annotations

import random
import statistics
import time

import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_service_pb2

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import DEFAULT_HASHES, BlockingStubs, reason, users_service

PAIRS = 300
SHUFFLES = 2_000


def refused_after(users: BlockingStubs, email: str) -> float:
    """Return the milliseconds until a sign-in is refused."""
    started = time.perf_counter()
    with pytest.raises(grpc.RpcError) as refused:
        users.sessions.SignIn(pb.SignInRequest(email=email, password="wrong guess"))
    taken = (time.perf_counter() - started) * 1_000
    assert reason(refused.value) == "CREDENTIALS_INVALID"
    return taken


def p_value(first: list[float], second: list[float], choose: random.Random) -> float:
    """Return how often chance alone parts two medians as far (permutation test)."""
    seen = abs(statistics.median(first) - statistics.median(second))
    both, further = first + second, 0
    for _ in range(SHUFFLES):
        choose.shuffle(both)
        parted = abs(statistics.median(both[: len(first)]) - statistics.median(both[len(first) :]))
        further += parted >= seen
    return further / SHUFFLES


@pytest.mark.bench
def test_unknown_email_and_wrong_password_take_the_same_time(test_run: TestRun, mysql_server: MySQLServer) -> None:
    """The medians of both differ by less than what a caller over a network could measure in a day's attempts."""
    choose = random.Random(1)
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, **DEFAULT_HASHES, attempts_per_account=100_000, log_level="error") as served,
        served.channel() as channel,
    ):
        users = BlockingStubs.on(channel)
        email = {"known": "known@example.com", "unknown": "other@example.com"}
        users.users.CreateUser(user_service_pb2.CreateUserRequest(email=email["known"], password="correct horse"))
        for number in range(PAIRS):
            for kind in choose.sample(sorted(email), 2):
                taken = refused_after(users, email[kind])
                if number >= PAIRS // 10:
                    times[kind].append(taken)
    medians = {kind: statistics.median(taken) for kind, taken in times.items()}
    spread = statistics.quantiles(times["known"], n=4)
    chance = p_value(times["known"], times["unknown"], choose)
    print(f"\nmedians in ms: {medians}; quartiles of known: {spread}; parted by chance alone: p = {chance:.3f}")  # noqa: T201
    assert abs(medians["known"] - medians["unknown"]) < 0.05 * medians["known"]
