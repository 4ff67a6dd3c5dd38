"""The recipes of docs/email.md: what providers report becomes the calls that the page says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from vibework.notifications.v1 import DeliveryEvent, ReportDeliveryEventRequest

PAGE: Final = (Path(__file__).parents[2] / "docs" / "email.md").read_text()
DELIVERY: Final = "dlv_01kb2m8x9cf3ytqv0w5z7r4hds"
HARD, SOFT, COMPLAINT = (
    DeliveryEvent.DELIVERY_EVENT_HARD_BOUNCE,
    DeliveryEvent.DELIVERY_EVENT_SOFT_BOUNCE,
    DeliveryEvent.DELIVERY_EVENT_COMPLAINT,
)
Recipe = Callable[[Any], Iterable[ReportDeliveryEventRequest]]


def blocks(language: str) -> list[str]:
    """Return the code of the page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    """The functions of the page, as a reader would paste them."""
    names: dict[str, Any] = {}
    exec("\n".join(blocks("python")), names)  # noqa: S102 - this is what readers do
    return names


SES, POSTMARK = blocks("json")
(REPORT,) = blocks("eml")


def test_ses(recipes: dict[str, Recipe]) -> None:
    """A bounce for good, one for now, a complaint, and what is neither."""
    (call,) = recipes["of_ses"](SES)
    assert (call.provider_message_id, call.event) == ("0100019ac5e8a1b2-6f1c2d3e-0000", HARD)
    assert (call.smtp_code, call.enhanced_status) == (550, "5.1.1")
    told = json.loads(SES)
    told["bounce"]["bounceType"] = "Transient"
    assert [each.event for each in recipes["of_ses"](json.dumps(told))] == [SOFT]
    told["notificationType"] = "Complaint"
    assert [each.event for each in recipes["of_ses"](json.dumps(told))] == [COMPLAINT]
    told["notificationType"] = "Delivery"
    assert list(recipes["of_ses"](json.dumps(told))) == []


def test_postmark(recipes: dict[str, Recipe]) -> None:
    """The delivery by the mail's metadata, or at least the address; unsubscribes and others are passed over."""
    (call,) = recipes["of_postmark"](POSTMARK)
    assert (call.delivery_id, call.event, call.smtp_code) == (DELIVERY, HARD, 550)
    told = json.loads(POSTMARK) | {"Type": "SpamComplaint", "Metadata": {}}
    (call,) = recipes["of_postmark"](json.dumps(told))
    assert (call.email_address, call.event) == ("ada@example.com", COMPLAINT)
    assert list(recipes["of_postmark"](json.dumps(told | {"Type": "Subscribe"}))) == []


def test_delivery_status_notifications(recipes: dict[str, Recipe]) -> None:
    """By the envelope's id or the returned headers; a delay is soft, and an answer of a person is no report."""
    crlf = REPORT.replace("\n", "\r\n").encode()
    (call,) = recipes["of_dsn"](crlf)
    assert (call.delivery_id, call.event) == (DELIVERY, HARD)
    assert (call.smtp_code, call.enhanced_status) == (550, "5.1.1")
    by_headers = crlf.replace(b"Original-Envelope-Id", b"X-Other")
    assert [each.delivery_id for each in recipes["of_dsn"](by_headers)] == [DELIVERY]
    whole = by_headers.replace(b"text/rfc822-headers", b"message/rfc822")
    assert [each.delivery_id for each in recipes["of_dsn"](whole)] == [DELIVERY]
    delayed = crlf.replace(b"Action: failed", b"Action: delayed").replace(b"Status: 5.1.1", b"Status: 4.4.1")
    assert [each.event for each in recipes["of_dsn"](delayed)] == [SOFT]
    assert list(recipes["of_dsn"](b"Subject: hello\r\n\r\nhello")) == []
    assert list(recipes["of_dsn"](crlf.replace(b"dlv_", b"xyz_"))) == []
