"""Validators of preferences and categories: the options of their collections, as ``schema`` declares them.

No other system writes them, so a row has the fields that this service knows and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from notifications_service.mongodb.codec import Document

_WHOLE: Final = {"bsonType": ["int", "long"]}
_TEXT: Final = {"bsonType": "string"}
_DATE: Final = {"bsonType": "date"}
_MODE: Final = {"enum": ["on", "off", "digest_daily", "digest_hourly", "digest_weekly"]}


def _exact(required: Sequence[str], properties: Document) -> Document:
    """Return the rules of an object that has these fields and no others."""
    return {
        "bsonType": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": properties,
    }


def _list_of(items: Document) -> Document:
    return {"bsonType": "array", "items": items}


def _held_to(rules: Document) -> Document:
    return {"validator": {"$jsonSchema": rules}, "validationLevel": "strict", "validationAction": "error"}


_ENTRY: Final = _exact(
    ("channel", "category", "mode"), {"channel": {"enum": ["", "email", "push"]}, "category": _TEXT, "mode": _MODE}
)
_DEFAULT: Final = _exact(("channel", "mode"), {"channel": {"enum": ["email", "push"]}, "mode": _MODE})
_QUIET_SPAN: Final = _exact(
    ("start", "end", "weekdays"),
    {"start": _WHOLE, "end": _WHOLE, "weekdays": _list_of({"enum": [1, 2, 3, 4, 5, 6, 7]})},
)
_DIGEST_TIME: Final = _exact(("minute", "weekday"), {"minute": _WHOLE, "weekday": {"enum": [0, 1, 2, 3, 4, 5, 6, 7]}})
PREFERENCES: Final = _held_to(
    _exact(
        ("_id", "updatedAt", "rev"),
        {
            "_id": _TEXT,
            "entries": _list_of(_ENTRY),
            "timeZone": _TEXT,
            "quietHours": _list_of(_QUIET_SPAN),
            "locale": _TEXT,
            "updatedAt": _DATE,
            "rev": _WHOLE,
            "digestTime": _DIGEST_TIME,
        },
    )
)
CATEGORIES: Final = _held_to(
    _exact(
        ("_id", "title", "createdAt", "updatedAt", "rev"),
        {
            "_id": _TEXT,
            "title": _TEXT,
            "description": _TEXT,
            "defaults": _list_of(_DEFAULT),
            "mandatory": {"bsonType": "bool"},
            "commercial": {"bsonType": "bool"},
            "deletedAt": _DATE,
            "createdAt": _DATE,
            "updatedAt": _DATE,
            "rev": _WHOLE,
        },
    )
)
