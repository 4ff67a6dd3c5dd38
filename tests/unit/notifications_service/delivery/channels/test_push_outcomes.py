"""What each answer of a push service means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifications_service.delivery.channels.push_outcomes import LONGEST_WAIT, of_status
from notifications_service.outbox.model import Reason

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
GONE, TEMPORARY, PERMANENT = Reason.SUBSCRIPTION_GONE, Reason.REJECTED_TEMPORARY, Reason.REJECTED_PERMANENT

# Status: reason, whether it is final, whether the push service is in trouble.
ANSWERS = {
    200: (None, False, False),
    201: (None, False, False),
    202: (None, False, False),
    301: (Reason.ENDPOINT_REFUSED, True, False),
    307: (Reason.ENDPOINT_REFUSED, True, False),
    400: (PERMANENT, True, False),
    401: (Reason.AUTH, True, False),
    403: (Reason.AUTH, True, False),
    404: (GONE, True, False),
    406: (PERMANENT, True, False),
    410: (GONE, True, False),
    413: (Reason.PAYLOAD_TOO_LARGE, True, False),
    429: (Reason.RATE_LIMITED, False, False),
    500: (TEMPORARY, False, True),
    502: (TEMPORARY, False, True),
    503: (TEMPORARY, False, True),
}


@pytest.mark.parametrize("status", ANSWERS)
def test_an_answer_means_one_thing(status: int) -> None:
    """Only trouble of the service itself is told as such, and only what passes is tried again."""
    found = of_status(status, "", NOW)
    assert (found.reason, found.final, found.blames_provider) == ANSWERS[status]
    assert found.http_status == status


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("0", timedelta(0)),
        ("120", timedelta(minutes=2)),
        (" 7 ", timedelta(seconds=7)),
        ("86401", LONGEST_WAIT),
        ("9" * 400, LONGEST_WAIT),
        ("Fri, 27 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Friday, 27-Nov-26 12:00:30 GMT", timedelta(seconds=30)),
        ("Fri Nov 27 12:00:30 2026", timedelta(seconds=30)),
        ("Fri, 27 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("Fri, 27 Nov 2099 11:00:00 GMT", LONGEST_WAIT),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("Fri, 99 Nov 2026 11:00:00 GMT", None),
    ],
)
def test_a_push_service_may_say_when_to_come_again(header: str, wait: timedelta | None) -> None:
    """In both forms of RFC 9110, and never for longer than a day."""
    assert of_status(429, header, NOW).retry_after == wait
    assert of_status(503, header, NOW).retry_after == wait
