"""Errors that end a watch, each with its reason of ``ErrorReason``."""

from __future__ import annotations

from datetime import timedelta

from chassis.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable


class ResumeTokenExpired(FailedPrecondition):
    """What happened since the token is no longer kept: list again, then watch anew."""

    reason = "RESUME_TOKEN_EXPIRED"
    template = "the history since the resume token is no longer kept; list again, then watch without a token"


class ResumeTokenInvalid(InvalidArgument):
    """The token was not issued here, was changed, or belongs to another watch."""

    reason = "RESUME_TOKEN_INVALID"
    template = "resume_token is not a token of this watch"


class WatcherTooSlow(ResourceExhausted):
    """The caller takes events more slowly than they happen."""

    reason = "WATCHER_TOO_SLOW"
    template = "the watcher reads too slowly; watch again with the last resume token"
    default_retry_after = timedelta(seconds=1)


class WatchInterrupted(Unavailable):
    """The server lost the stream it watches through."""

    reason = "WATCH_INTERRUPTED"
    template = "the watch was interrupted; watch again with the last resume token"
    default_retry_after = timedelta(seconds=1)


class TooManyWatchers(ResourceExhausted):
    """This process has as many watchers as it takes."""

    reason = "TOO_MANY_WATCHERS"
    template = "the server has as many watchers as it takes"
    default_retry_after = timedelta(seconds=5)
