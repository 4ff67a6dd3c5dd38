"""Errors of reads on a replica; such a read had no effect, so the primary can be asked instead."""

from __future__ import annotations

from typing import ClassVar


class NotAnswered(Exception):
    """No replica answered; ``cause`` is what metrics call the reason."""

    cause: ClassVar[str]


class NoneInUse(NotAnswered):
    """No replica may be asked now."""

    cause = "none in use"


class ReplicaBehind(NotAnswered):
    """The replica has not reached the transactions that the answer must include."""

    cause = "behind"


class ReplicaFailed(NotAnswered):
    """The replica could not be reached, or broke off."""

    cause = "failed"


class ReplicaBusy(NotAnswered):
    """All connections to the replica were in use for too long."""

    cause = "busy"
