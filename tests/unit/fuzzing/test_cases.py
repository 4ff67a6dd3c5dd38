"""Cases of bad input: always the same ones, of every kind, and told from faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.contract.requests import NOTIFICATIONS, REQUESTS, USERS
from tests.contract.servers import DETAILS
from tests.fuzzing import cases, judging
from tests.fuzzing.attacks import ATTACKS
from tests.fuzzing.cases import Case, attack, case
from tests.fuzzing.mutations import MESSAGE_BYTES, MUTATIONS
from tests.fuzzing.rows import Rows
from tests.fuzzing.services import Service
from tests.fuzzing.texts import BODY, SECRET
from tests.harness.pair import Side
from tests.harness.storm import rpcs_of

GET_USER = "vibework.users.v1.UserService/GetUser"


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Rows that are nowhere."""
    rpcs = (*rpcs_of("vibework.users.v1", USERS, {}), *rpcs_of("vibework.notifications.v1", NOTIFICATIONS, {}))
    return Rows(rpcs, "user_x", "ann@example.com", ("token",), frozenset())


def made(rows: Rows, seed: int) -> Iterator[Case]:
    """Yield some cases."""
    return (case(seed, number, rows) for number in range(1_500))


def test_a_seed_and_a_number_are_a_case(rows: Rows) -> None:
    """What was found is found again, and another seed finds something else."""
    again = [(each.rpc, each.mutation, len(each.content)) for each in made(rows, 1)]
    assert [(each.rpc, each.mutation, len(each.content)) for each in made(rows, 1)] == again
    assert [(each.rpc, each.mutation, len(each.content)) for each in made(rows, 2)] != again


def test_every_rpc_is_tried_and_every_attack_made(rows: Rows) -> None:
    """None is left out: of the RPCs of both services, of the ways to change a request, of the attacks below them."""
    there = list(made(rows, 1))
    assert {each.rpc for each in there} == set(REQUESTS)
    assert {each.mutation for each in there} >= set(MUTATIONS) - {"too large"}
    attacks = [found for number in range(5_000) if (found := attack(1, number)) is not None]
    assert {each.mutation for each in attacks} == set(ATTACKS)
    assert len(attacks) == 5_000 // cases.EACH


def error(code: grpc.StatusCode, reason: str, message: str = "no") -> Any:
    """Return an error of a call; without a reason one of gRPC's core."""
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="vibework"))
    trailing = grpc.aio.Metadata(*(((DETAILS, status.SerializeToString()),) if reason else ()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, message)


@pytest.mark.parametrize(
    ("failed", "problem"),
    [
        (error(grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND"), ""),
        (error(grpc.StatusCode.INTERNAL, "INTERNAL"), "INTERNAL: no"),
        (error(grpc.StatusCode.UNKNOWN, ""), "UNKNOWN: no"),
        (error(grpc.StatusCode.NOT_FOUND, ""), "NOT_FOUND without a reason: no"),
        (error(grpc.StatusCode.NOT_FOUND, "SESSION_INVALID"), "SESSION_INVALID was promised to nobody"),
        (error(grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND", SECRET), "USER_NOT_FOUND repeats a secret"),
    ],
)
def test_an_error_is_judged(failed: Any, problem: str) -> None:
    """A fault is told from a refusal, which has a reason that was promised and repeats no secret."""
    assert judging.of_error(Case(1, 1, GET_USER, "valid", b"", ()), failed).problem == problem


@pytest.mark.parametrize("size", [MESSAGE_BYTES, MESSAGE_BYTES + 1])
def test_only_what_is_too_large_may_be_refused_without_a_reason(size: int) -> None:
    """What gRPC's core answers by itself is taken where it can have come from there alone."""
    refused = error(grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    assert bool(judging.of_error(Case(1, 1, GET_USER, "huge", bytes(size), ()), refused).problem) == (
        size == MESSAGE_BYTES
    )


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ('{"event": "rpc", "level": "info"}', 0),
        ('{"event": "unexpected error", "level": "error"}', 1),
        (f'{{"event": "rpc", "level": "info", "text": "{SECRET}"}}', 1),
        (f'{{"event": "rpc", "level": "info", "text": "{BODY}"}}', 1),
        (f"Traceback: {BODY}", 1),
        (f'{{"event": "rpc", "level": "info", "text": "{"t" * 43}"}}', 1),
        (f'{{"event":"audit","level":"info","subjects":["{BODY}"]}}', 0),
        ('{"event": "x", "level": "error", "logger_name": "grpc._cython.cygrpc"}', 0),
    ],
)
def test_a_log_is_judged(tmp_path: Path, line: str, problems: int) -> None:
    """Secrets, bodies and faults of the service are found in it, and what gRPC says of callers is not taken for one."""
    log = tmp_path / "log"
    log.write_text(f"{line}\n")
    service = Service(Side("users_service", 0, {}, log), 0)
    assert len(list(judging.of_log(service, frozenset({"t" * 43})))) == problems
