"""Idempotent requests (AIP-155): their errors and fingerprints; each service keeps the answers in its database."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from google.protobuf.message import Message

from chassis.contract.fingerprint import fingerprint
from chassis.errors import Aborted, InvalidArgument

# What may differ between repeats: where the end user calls from is another place when a browser repeats it.
NOT_COMPARED: Final = ("request_id", "client")


class RequestIdReused(InvalidArgument):
    """The request id was used before, with another body."""

    reason = "REQUEST_ID_REUSED"
    template = "request_id was used for a different request"


class RequestInFlight(Aborted):
    """The first request with this id has not finished; the caller repeats in a moment."""

    reason = "REQUEST_IN_FLIGHT"
    template = "a request with this request_id is still in progress"
    default_retry_after = timedelta(milliseconds=200)


def request_fingerprint(request: Message) -> bytes:
    """Return what must be equal (32 bytes) for two requests with one ``request_id`` to be repeats."""
    return fingerprint(request, without=NOT_COMPARED)


def check_repeat(stored: bytes, request: Message) -> None:
    """Raise ``RequestIdReused`` unless ``request`` has the fingerprint stored with its id."""
    if stored != request_fingerprint(request):
        raise RequestIdReused
