"""Driver errors as callers see them, and settings that are wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from chassis.context import deadline
from chassis.errors import CallDeadlineExceeded, ConflictRetry, DatabaseUnavailable
from chassis.settings import describe
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.driver_errors import TRANSIENT, may_pass, of_write, translated
from notifications_service.settings import Settings

RIGHT: dict[str, Any] = {
    "mongodb_url": "mongodb://127.0.0.1/vibe",
    "secret_keys": "a:" + "A" * 43 + "=",
    "recipient_check": "off",
}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServerSelectionTimeoutError("x"), DatabaseUnavailable),
        (WaitQueueTimeoutError("x"), DatabaseUnavailable),
        (NetworkTimeout("x"), DatabaseUnavailable),
        (AutoReconnect("x"), DatabaseUnavailable),
        (NotPrimaryError("x"), DatabaseUnavailable),
        (ExecutionTimeout("x", 50), DatabaseUnavailable),
        (ExecutionTimeout("x", 50, {"code": 50, "codeName": "MaxTimeMSExpired"}), CallDeadlineExceeded),
        (OperationFailure("x", 11600), DatabaseUnavailable),
        (OperationFailure("x", 112), ConflictRetry),
        (OperationFailure("x", 2), OperationFailure),
    ],
)
def test_each_kind_of_driver_error_has_one_meaning(error: PyMongoError, expected: type[Exception]) -> None:
    """Absence is UNAVAILABLE, a conflict is to be repeated, and a defect of ours stays one."""
    assert type(translated(error)) is expected


@pytest.mark.parametrize("code", sorted(TRANSIENT))
def test_whatever_passes_is_unavailable_and_read_once_more(code: int) -> None:
    """Also the numbers that a server cannot be told to raise, as those of shards."""
    error = OperationFailure("x", code, {"code": code})
    assert isinstance(translated(error), DatabaseUnavailable)
    assert may_pass(error)


def test_what_timed_out_is_not_read_once_more() -> None:
    """It took its time, and would again."""
    for error in (
        NetworkTimeout("x"),
        ServerSelectionTimeoutError("x"),
        ExecutionTimeout("x", 50),
        OperationFailure("x", 11601),
    ):
        assert not may_pass(error)


def test_a_refused_write_of_several_is_its_own() -> None:
    """Others of the same command were stored; nobody of them is told to create a second time."""
    details = {"nInserted": 1, "writeErrors": [{"index": 1, "code": 46}]}
    error = BulkWriteError(details)
    assert translated(error) is error
    assert isinstance(of_write(46), DatabaseUnavailable)
    assert of_write(121) is None
    assert isinstance(translated(BulkWriteError(details | {"nInserted": 0})), DatabaseUnavailable)
    assert isinstance(translated(BulkWriteError(details | {"writeConcernErrors": [{"code": 64}]})), DatabaseUnavailable)


def test_a_timeout_at_the_end_of_the_call_is_the_calls() -> None:
    """When the call's own time is up it is not the database that is away."""
    with deadline.within(0):
        assert isinstance(translated(NetworkTimeout("x")), CallDeadlineExceeded)


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_a_pool_full_of_those_who_look_for_a_primary_is_no_overload(driver: Any) -> None:
    """Nobody is there: whoever waits for those who look for one hears that, and not of a limit of ours."""
    url = "mongodb://127.0.0.1:1/vibe?directConnection=true"
    limits = {"mongodb_url": url, "mongodb_connection_pool_size": 4, "mongodb_query_timeout_ms": 100}
    database = Database(Settings(**(RIGHT | limits), mongodb_driver=driver))
    told = await asyncio.gather(*(database.hello() for _ in range(8)), return_exceptions=True)
    await database.close()
    assert {type(error) for error in told} == {DatabaseUnavailable}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("mongodb_url", "mongodb://someone:hidden@127.0.0.1:27017"),
        ("mongodb_url", "postgres://someone:hidden@127.0.0.1/vibe"),
        ("secret_keys", "a:hidden"),
        ("mongodb_driver", "mongoose"),
        ("notifications_retention_days", 0),
        ("recipient_check", "maybe"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(setting: str, value: object) -> None:
    """The line that ends the start names the variable and its rule, and no secret."""
    with pytest.raises(ValidationError) as caught:
        Settings(**(RIGHT | {setting: value}))
    line = describe(caught.value.errors(include_url=False, include_context=False, include_input=False)[0])
    assert line.startswith(f"{setting.upper()}: ")
    assert "hidden" not in line
