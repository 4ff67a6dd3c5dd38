"""VAPID: tokens that a push service can verify, signed as seldom as that allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from notifications_service.delivery.channels import vapid
from notifications_service.delivery.channels.vapid import LIFETIME, Vapid
from notifications_service.push_subscriptions.keys import PushKeys
from tests.harness.push_service import Received, unbase64url, vapid_claims
from tests.unit.notifications_service.push_subscriptions.test_keys import PRIVATE, PUBLIC

ORIGIN = "https://push.example.com"
START = datetime(2026, 11, 27, tzinfo=UTC)


class Clock:
    """A clock that a test turns."""

    now = START

    def __call__(self) -> datetime:
        """Return its time."""
        return self.now


def _keys() -> PushKeys:
    return PushKeys.parse(f"a:{PRIVATE},b:{'AQ' * 21}A")


def test_a_push_service_can_verify_who_sends() -> None:
    """The token is for its origin, ends within a day, names whom to write to, and the key in the header signed it."""
    header = Vapid("mailto:ops@example.com", Clock()).authorization(ORIGIN, _keys().by_id["a"])
    claims, public = vapid_claims(Received("", {"authorization": header}, b""))
    assert claims == {"aud": ORIGIN, "sub": "mailto:ops@example.com", "exp": int((START + LIFETIME).timestamp())}
    assert public == unbase64url(PUBLIC)


def test_a_token_is_used_again_until_half_its_time_has_passed() -> None:
    """Each service and key has its own, and none reaches a push service so old that its clock might refuse it."""
    clock, keys = Clock(), _keys()
    made = Vapid("mailto:ops@example.com", clock)
    first = made.authorization(ORIGIN, keys.by_id["a"])
    clock.now = START + LIFETIME / 2
    assert made.authorization(ORIGIN, keys.by_id["a"]) == first
    others = {made.authorization("https://b.example", keys.by_id["a"]), made.authorization(ORIGIN, keys.by_id["b"])}
    assert first not in others
    assert len(others) == 2
    clock.now += timedelta(seconds=1)
    assert made.authorization(ORIGIN, keys.by_id["a"]) != first


def test_a_clock_that_was_put_back_makes_a_new_token() -> None:
    """A token that ends more than its lifetime ahead may end later than push services accept."""
    clock, keys = Clock(), _keys()
    made = Vapid("mailto:ops@example.com", clock)
    first = made.authorization(ORIGIN, keys.by_id["a"])
    clock.now -= timedelta(days=2)
    assert made.authorization(ORIGIN, keys.by_id["a"]) != first


def test_made_up_services_do_not_fill_the_memory() -> None:
    """Whoever registers subscriptions at many hosts leaves no more than the last tokens."""
    made = Vapid("mailto:ops@example.com", Clock())
    for number in range(vapid.MOST_TOKENS + 10):
        made.authorization(f"https://{number}.example", _keys_a)
    assert len(made._made) == vapid.MOST_TOKENS


_keys_a = _keys().by_id["a"]
