"""Preferences of users, and the categories that they are given by."""

from __future__ import annotations

from typing import Any

WHOLE = {"bsonType": ["int", "long"]}
MODE = {"enum": ["on", "off"]}
PREFERENCES: dict[str, Any] = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "updatedAt", "rev"],
        "additionalProperties": False,
        "properties": {
            "_id": {"bsonType": "string"},
            "entries": {
                "bsonType": "array",
                "items": {
                    "bsonType": "object",
                    "required": ["channel", "category", "mode"],
                    "additionalProperties": False,
                    "properties": {
                        "channel": {"enum": ["", "email", "push"]},
                        "category": {"bsonType": "string"},
                        "mode": MODE,
                    },
                },
            },
            "timeZone": {"bsonType": "string"},
            "quietHours": {
                "bsonType": "array",
                "items": {
                    "bsonType": "object",
                    "required": ["start", "end", "weekdays"],
                    "additionalProperties": False,
                    "properties": {
                        "start": WHOLE,
                        "end": WHOLE,
                        "weekdays": {"bsonType": "array", "items": {"enum": [1, 2, 3, 4, 5, 6, 7]}},
                    },
                },
            },
            "locale": {"bsonType": "string"},
            "updatedAt": {"bsonType": "date"},
            "rev": WHOLE,
        },
    }
}
CATEGORIES: dict[str, Any] = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "title", "createdAt", "updatedAt", "rev"],
        "additionalProperties": False,
        "properties": {
            "_id": {"bsonType": "string"},
            "title": {"bsonType": "string"},
            "description": {"bsonType": "string"},
            "defaults": {
                "bsonType": "array",
                "items": {
                    "bsonType": "object",
                    "required": ["channel", "mode"],
                    "additionalProperties": False,
                    "properties": {"channel": {"enum": ["email", "push"]}, "mode": MODE},
                },
            },
            "mandatory": {"bsonType": "bool"},
            "commercial": {"bsonType": "bool"},
            "deletedAt": {"bsonType": "date"},
            "createdAt": {"bsonType": "date"},
            "updatedAt": {"bsonType": "date"},
            "rev": WHOLE,
        },
    }
}
VALIDATORS = {"preferences": PREFERENCES, "categories": CATEGORIES}


async def up(database: Any) -> None:
    there = await database.list_collection_names()
    for name, validator in VALIDATORS.items():
        if name not in there:
            await database.create_collection(name)
        await database.command("collMod", name, validator=validator, validationLevel="strict", validationAction="error")


async def down(database: Any) -> None:
    for name in VALIDATORS:
        await database.drop_collection(name)
