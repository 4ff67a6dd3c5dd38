"""Values in updates that are pipelines, where text that begins with `$` would be a field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notifications_service.mongodb.codec import Document


def assigned(changes: Mapping[str, Any]) -> Document:
    """Return what a `$set` of a pipeline takes for new values as they are; None: the field is removed."""
    return {name: "$$REMOVE" if value is None else {"$literal": value} for name, value in changes.items()}
