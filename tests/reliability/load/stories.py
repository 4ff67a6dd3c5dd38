"""The stories of the load, and how many of each are told at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tests.reliability.load import lives, objects
from tests.reliability.load.caller import Caller

Story = Callable[[Caller], Awaitable[None]]

# Those on whose objects several work at once are most of the load; those in which passwords are hashed the least.
STORIES: Final[Mapping[Story, int]] = {
    objects.a_user_changes: 3,
    objects.a_notification_changes: 3,
    objects.preferences_change: 1,
    objects.a_session_is_used: 3,
    objects.others_are_signed_out: 1,
    objects.a_secret_is_consumed: 2,
    lives.a_person_signs_up_and_in: 1,
    lives.a_person_comes_by_a_provider: 1,
    lives.a_person_proves_an_address: 1,
    lives.a_person_comes_by_a_secret: 1,
    lives.a_person_is_kept_out_and_goes: 2,
    lives.people_are_imported: 1,
    lives.notifications_come_in_batches: 2,
    lives.a_feed_is_emptied: 1,
    lives.mails_are_sent_and_steered: 1,
    lives.an_address_bounces: 1,
    lives.somebody_chooses: 1,
}

# RPCs that change something and that no story calls, each with the reason.
LEFT_OUT: Final[Mapping[str, str]] = {}
