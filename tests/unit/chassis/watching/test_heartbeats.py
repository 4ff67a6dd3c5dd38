"""How often a heartbeat is due."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from vibework.users.v1 import user_service_pb2 as pb

from chassis.watching.heartbeats import DEFAULT_HEARTBEAT, interval_of


def test_the_interval_is_that_of_the_request() -> None:
    """Fractions included; none was asked for: the default of the contract."""
    assert interval_of(pb.WatchUsersRequest()) == DEFAULT_HEARTBEAT
    assert interval_of(pb.WatchUsersRequest(heartbeat_interval=Duration(seconds=2, nanos=500_000_000))) == 2.5
