"""Templates of made-up notifications: their texts and channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from chassis.commands.fake_people import full_name
from notifications_service.notification.documents import Draft, Type, Urgency


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of message: its share among all, its channels, and its texts.

    ``further``: what only such messages have, as it is stored; ``is_of_thread``: they belong to what they are about.
    """

    weight: int
    category: str
    types: tuple[Type, ...]
    title: str
    message: str
    data: Callable[[Random], dict[str, Any]] | None = None
    further: Mapping[str, Any] = field(default_factory=dict)
    is_of_thread: bool = False


_FEED: Final = (Type.IN_APP,)
_ALL: Final = (Type.IN_APP, Type.IN_APP, Type.PUSH, Type.EMAIL)
_PLACES: Final = ("the launch plan", "your photo", "a design review", "the weekly report", "issue 4711", "your answer")


def _item(chance: Random) -> dict[str, Any]:
    return {"path": f"/items/{chance.randint(1, 99_999)}"}


def _invoice(chance: Random) -> dict[str, Any]:
    return {"invoice": f"INV-{chance.randint(10_000, 99_999)}", "cents": chance.randint(5, 200) * 100}


_KINDS: Final = (
    Template(28, "social", _FEED, "{who} liked {what}", "{who} and {count} others liked {what}.", _item),
    Template(
        22,
        "social",
        _ALL,
        "{who} commented on {what}",
        "“Looks good to me, shall we talk on Monday?”",
        _item,
        is_of_thread=True,
    ),
    Template(12, "social", _ALL, "{who} mentioned you", "{who} mentioned you in {what}.", _item, is_of_thread=True),
    Template(8, "social", _FEED, "{who} follows you", "You have {count} followers now."),
    Template(10, "work", _ALL, "A task is due", "{what} is due tomorrow; {count} steps are open.", _item),
    Template(6, "work", _ALL, "{who} invited you", "{who} invited you to work on {what}.", _item),
    Template(
        5, "billing", (Type.EMAIL,), "Your invoice is ready", "Thank you. You find the invoice attached.", _invoice
    ),
    Template(
        4,
        "security",
        (Type.EMAIL, Type.PUSH),
        "New sign-in",
        "Somebody signed in from a new device. Was it you?",
        further={"urgency": Urgency.HIGH.value, "critical": True},
    ),
    Template(
        3, "system", _FEED, "Maintenance on Sunday", "We will be away for {count} minutes on Sunday at 04:00 UTC."
    ),
    Template(2, "", _FEED, "Welcome", "Good to have you here."),
)
_WEIGHTS: Final = tuple(kind.weight for kind in _KINDS)


def draft(chance: Random, user_id: str) -> Draft:
    """Make up what one notification says."""
    kind = chance.choices(_KINDS, _WEIGHTS)[0]
    words = {"who": full_name(chance), "what": chance.choice(_PLACES), "count": chance.randint(2, 60)}
    thread = {"threadKey": words["what"]} if kind.is_of_thread else {}
    return Draft(
        user_id=user_id,
        title=_sentence(kind.title, words),
        message=_sentence(kind.message, words),
        type=chance.choice(kind.types),
        category=kind.category,
        data=kind.data(chance) if kind.data is not None else None,
        further={**kind.further, **thread},
    )


def _sentence(template: str, words: dict[str, Any]) -> str:
    text = template.format_map(words)
    return text[0].upper() + text[1:]
