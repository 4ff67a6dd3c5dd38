"""What the measured databases hold: every id, token and owner follows from a number, so that nothing is looked up."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId

# Coprime to every number of notifications: spreads a user's rows over the whole collection, as time does.
STRIDE = 982_451_653
HEAVY_ROWS = 1_000
DEEP_ROWS = 25_000
# Users whose lists are read, as many in every dataset: calls that ask for the same page share it, so that few users
# would make a small dataset look faster than it is.
READERS = 64
READER_ROWS = 60
PASSWORD = "correct horse battery"
# Users kept for what the bench itself creates, and users with a password.
RECIPIENTS = 256
SIGN_IN_USERS = 512


@dataclass(frozen=True)
class Plan:
    """One dataset: how many rows of each kind, and when they were made (naive UTC)."""

    users: int
    sessions: int
    notifications: int
    made_at: datetime

    @classmethod
    def scaled(cls, scale: float, made_at: datetime) -> Plan:
        """Return the plan for 100,000 users, 200,000 sessions and 1,000,000 notifications, times ``scale``."""
        users = max(1_000, round(100_000 * scale))
        return cls(users, 2 * users, max(10_000, round(1_000_000 * scale)), made_at)

    @property
    def fresh(self) -> datetime:
        """Return a time after that of all rows: what has it or a later one was made by a run."""
        return self.made_at + timedelta(seconds=1)

    @property
    def deep_rows(self) -> int:
        """How many rows the user with the longest list has."""
        return min(DEEP_ROWS, self.notifications // 40)

    @property
    def heavy_users(self) -> int:
        """How many users have ``HEAVY_ROWS`` rows each: together four tenths of all."""
        return self.notifications * 4 // 10 // HEAVY_ROWS

    @property
    def readers(self) -> range:
        """The numbers of the users whose lists are read; each has ``READER_ROWS`` rows."""
        return range(1 + self.heavy_users, 1 + self.heavy_users + READERS)

    @property
    def recipients(self) -> range:
        """The numbers of the users that the bench creates notifications for; they have few others."""
        return range(self.users - RECIPIENTS, self.users)

    def owner(self, number: int) -> int:
        """Return the number of the user whose notification this is: the deep one, a heavy one, a reader, or another."""
        place = number * STRIDE % self.notifications
        if place < self.deep_rows:
            return 0
        place -= self.deep_rows
        if place < self.heavy_users * HEAVY_ROWS:
            return 1 + place % self.heavy_users
        place -= self.heavy_users * HEAVY_ROWS
        if place < READERS * READER_ROWS:
            return self.readers[place % READERS]
        first = self.readers.stop
        return first + place % (self.users - first - RECIPIENTS)

    def created_at(self, number: int) -> datetime:
        """Return when a notification was made: within twenty days before ``made_at``, evenly."""
        age = timedelta(days=20) * (self.notifications - number) / self.notifications
        moment = self.made_at - timedelta(minutes=10) - age
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def notification_id(self, number: int) -> ObjectId:
        """Return a notification's id, whose first bytes are its time, as the driver makes them."""
        seconds = int((self.created_at(number) - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001
        return ObjectId(struct.pack(">IQ", seconds, number))


def user_id(number: int) -> str:
    """Return the id of a user: 31 characters, ordered by number."""
    return f"user_01k{number:023d}"


def session_id(number: int) -> str:
    """Return the id of a session."""
    return f"sess_01k{number:023d}"


def email(number: int) -> str:
    """Return the address of a user."""
    return f"user{number}@example.com"


def token(number: int) -> str:
    """Return the token of a session, of the form that real ones have."""
    return base64.urlsafe_b64encode(hashlib.sha256(b"bench session %d" % number).digest()).decode().rstrip("=")


def spread(numbers: range, count: int) -> Iterable[int]:
    """Return ``count`` of the numbers, evenly over their range."""
    step = max(1, len(numbers) // count)
    return numbers[::step][:count]
