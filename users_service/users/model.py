"""The model of users: a user as stored, filters, and changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from chassis.contract import etags
from chassis.contract.ids import new_id


@dataclass(frozen=True, slots=True)
class User:
    """A row of ``users``. Times are in UTC; empty name and image: none."""

    id: str
    email: str
    email_verified: bool
    name: str
    image: str
    revision: int
    created_at: datetime
    updated_at: datetime
    # By the database's clock as the row was read: None with all that follows for whoever is active then.
    disabled_at: datetime | None = None
    # None: no end but EnableUser.
    disabled_until: datetime | None = None
    disabled_reason: str = ""

    @property
    def is_disabled(self) -> bool:
        """Whether the user was disabled as the row was read."""
        return self.disabled_at is not None

    @property
    def disablement(self) -> Disablement | None:
        """What is said of a user who is disabled; None for one who is active."""
        return Disablement(self.disabled_reason, self.disabled_until) if self.is_disabled else None

    @property
    def etag(self) -> str:
        """Say which state of the user this is (AIP-154)."""
        return etags.write(self.revision)


def new_user(email: str, now: datetime, *, email_verified: bool = False, name: str = "", image: str = "") -> User:
    """Make a user that is not stored yet, with a new id."""
    return User(
        id=new_id("user"),
        email=email,
        email_verified=email_verified,
        name=name,
        image=image,
        revision=1,
        created_at=now,
        updated_at=now,
    )


@dataclass(frozen=True, slots=True)
class UserFilter:
    """A filter of users; all conditions that are neither None nor empty must hold."""

    # Of the normalised address, in any case.
    email_contains: str = ""
    email_ends_with: str = ""
    # From this time on.
    created_after: datetime | None = None
    # Before this time.
    created_before: datetime | None = None
    email_verified: bool | None = None
    # One of these; each once.
    ids: Sequence[str] = ()
    # Of the last change: from this time on, and before this time.
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    # None: in any state.
    is_disabled: bool | None = None


class UserOrder(Enum):
    """An order of a list of users: by the time in a column, and at equal times by id."""

    NEWEST_FIRST = "created_at", True
    OLDEST_FIRST = "created_at", False
    EARLIEST_CHANGE_FIRST = "updated_at", False

    def __init__(self, by: str, descending: bool) -> None:
        self.by = by
        self.descending = descending


@dataclass(frozen=True, slots=True)
class UserChanges:
    """The changes of an update; None: unchanged. An empty name or image removes it."""

    email: str | None = None
    name: str | None = None
    image: str | None = None
    email_verified: bool | None = None


@dataclass(frozen=True, slots=True)
class Disablement:
    """What is said of a user who is disabled: why, empty where nothing is said, and until when; None: no end."""

    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """Numbers of records that were deleted with a user."""

    sessions: int
    accounts: int
