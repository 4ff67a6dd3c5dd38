"""The parts that the features of the service share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chassis.clock import Clock
from chassis.contract.keyset import Pages, TimeAndId
from chassis.keyring import Keyring
from chassis.slices import Slices
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.mysql.database_clock import DatabaseClock
from users_service.outbox.notices import Notices
from users_service.outbox.proved_addresses import ProvedAddresses
from users_service.passwords.hasher import Passwords
from users_service.replicas.reads import Query


@dataclass(frozen=True)
class Parts:
    """What the services share."""

    database: Database
    # For reads that replicas may carry out.
    query: Query
    keyring: Keyring
    idempotency: Idempotency
    passwords: Passwords
    notices: Notices
    proved_addresses: ProvedAddresses
    pages: Pages[TimeAndId]
    clock: Clock
    database_clock: DatabaseClock
    slices: Slices
    # Whether this process is about to end.
    stopping: Callable[[], bool]
