"""The lifetime of sessions: when one ends, and when its end may be extended."""

from __future__ import annotations

from datetime import datetime, timedelta

from users_service.sessions.model import Session

# From creation or the last extension.
SLIDING = timedelta(days=7)
# From creation, whatever the extensions.
ABSOLUTE = timedelta(days=30)
# From creation, if the user did not want to be remembered; never extended.
BRIEF = timedelta(days=1)
# How long after an extension the next one is due, so that most refreshes change only the time last seen.
EXTENSION_DUE = timedelta(days=1)
# How long a session counts as a fresh sign-in.
FRESH = timedelta(days=1)
# How long a replaced token still works, for calls that were on their way when it was replaced.
GRACE = timedelta(seconds=30)
# How far clocks may differ, by the contract. Grace is counted by the database's, but that moves to another machine with
# the primary, and processes of an older version count by their own.
CLOCKS_APART = timedelta(seconds=5)


def first_end(now: datetime, *, do_not_remember: bool) -> datetime:
    """Return when a session created now ends unless it is extended."""
    return now + (BRIEF if do_not_remember else SLIDING)


def absolute_end(now: datetime, *, do_not_remember: bool) -> datetime:
    """Return when a session created now ends at the latest."""
    return now + (BRIEF if do_not_remember else ABSOLUTE)


def is_live(session: Session, now: datetime) -> bool:
    """Whether the session has been neither revoked nor expired."""
    return session.revoked_at is None and session.expires_at > now


def has_expired(session: Session, now: datetime) -> bool:
    """Whether the session's time was over before anybody ended it."""
    if session.revoked_at is None:
        return session.expires_at <= now
    # By the clock of the process that ended it, which may be ahead of this one.
    return session.expires_at <= min(session.revoked_at, now)


def ended_at(session: Session, now: datetime) -> datetime | None:
    """Return when the session ended: when its time was over or when it was revoked; None while it is live."""
    return session.expires_at if has_expired(session, now) else session.revoked_at


def is_fresh(session: Session, now: datetime) -> bool:
    """Whether the session was created less than a day ago."""
    return now - session.created_at < FRESH


def refresh_due(session: Session, now: datetime) -> bool:
    """Whether a refresh would move the session's end now."""
    return (
        not session.do_not_remember
        and session.expires_at < session.absolute_expires_at
        and now - session.extended_at >= EXTENSION_DUE
    )


def in_grace(rotated_at: datetime, now: datetime) -> bool:
    """Whether a token that was replaced at ``rotated_at`` still works; both times by the database's clock."""
    return now - rotated_at <= GRACE + CLOCKS_APART
