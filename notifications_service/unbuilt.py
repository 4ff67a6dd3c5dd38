"""Methods of the contract that are not built yet: they answer UNIMPLEMENTED with the reason NOT_IMPLEMENTED."""

from __future__ import annotations

from typing import Any

from chassis.errors import NotImplementedYet


def unbuilt(servicer: type[Any]) -> Any:
    """Return a servicer of a generated class, all of whose methods are unary, that refuses every call."""
    names = [name for name in vars(servicer) if not name.startswith("_")]
    return type(f"Unbuilt{servicer.__name__}", (servicer,), dict.fromkeys(names, _refuse))()


async def _refuse(_servicer: object, _request: object, _context: object) -> None:
    raise NotImplementedYet
