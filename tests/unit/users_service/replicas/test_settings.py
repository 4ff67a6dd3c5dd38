"""What an operator and a caller may say about replicas, and what is made of nonsense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chassis.context import calls
from chassis.context.calls import Call
from tests.harness.databases import MySQLDatabase
from tests.harness.users import settings_for
from users_service.endpoints import Endpoint, parse
from users_service.replicas import staleness

DATABASE = MySQLDatabase("127.0.0.1", 3307, "user", "password", "name")


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("", []),
        ("replica", [Endpoint("replica", 3307)]),
        (" a.example:3310 , b.example,", [Endpoint("a.example", 3310), Endpoint("b.example", 3307)]),
        ("[::1]:3310,[fe80::2]", [Endpoint("::1", 3310), Endpoint("fe80::2", 3307)]),
        ("a:1,a:1", [Endpoint("a", 1)]),
    ],
)
def test_hosts_are_a_list_with_the_port_of_the_primary(text: str, endpoints: list[Endpoint]) -> None:
    """`host[:port]`, comma-separated; each server once."""
    assert list(parse(text, 3307)) == endpoints
    assert list(settings_for(DATABASE, mysql_replica_hosts=text).replica_endpoints) == endpoints


@pytest.mark.parametrize("text", ["::1", "a:b", "a:0", "a:70000", "a b", "[::1"])
def test_a_wrong_host_stops_the_start_and_names_the_setting(text: str) -> None:
    """A replica that is misspelt is found out at the start, not in the metrics."""
    with pytest.raises(ValidationError, match="MYSQL_REPLICA_HOSTS"):
        settings_for(DATABASE, mysql_replica_hosts=text)


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ((), 0),
        (None, 0),
        (((staleness.METADATA_KEY, "1500"),), 1.5),
        (((staleness.METADATA_KEY, "-1"),), 0),
        (((staleness.METADATA_KEY, "1e9"),), 0),
        (((staleness.METADATA_KEY, "²"),), 0),
        (((staleness.METADATA_KEY, b"1500"),), 0),
        (((staleness.METADATA_KEY, "9" * 400),), 0),
    ],
)
def test_a_caller_says_how_old_an_answer_may_be_in_milliseconds(metadata: object, seconds: float) -> None:
    """What is no number is no permission."""
    calls.enter(Call("method", metadata))
    try:
        assert staleness.tolerated() == seconds
    finally:
        calls.enter(None)


def test_work_outside_of_a_call_wants_the_newest() -> None:
    """Nobody has said anything."""
    assert staleness.tolerated() == 0
