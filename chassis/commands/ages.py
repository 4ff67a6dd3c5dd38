"""Ages in options and tables of commands: a number and a unit, as `90s`, `30m`, `12h` or `7d`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

import click

_UNITS: Final = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
_is_age = re.compile(r"([0-9]{1,6})([smhd])").fullmatch


class AgeType(click.ParamType[timedelta]):
    """The type of an option that is an age."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read an age."""
        if isinstance(value, timedelta):
            return value
        found = _is_age(value)
        if found is None:
            self.fail("a number and one of s, m, h and d, as 30m or 7d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


AGE: Final = AgeType()


def short(age: timedelta) -> str:
    """Return an age in its largest unit, rounded down: at most four characters below 27 years."""
    for unit, length in _UNITS.items():
        if age >= length:
            return f"{age // length}{unit}"
    return "0s"
