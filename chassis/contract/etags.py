"""Etags (AIP-154): which state of a resource a caller has read, in one form for all resources of both services.

An etag is one whole number or several, separated by dots, in quotation marks (RFC 9110, 8.8.3): ``"3"``, ``"3.17"``. It
is compared as text. So a number that is spelled otherwise (a sign, a space, a zero before it, other digits) makes an
etag that was never issued, and that no state has.
"""

from __future__ import annotations

from typing import Final

# What a database holds in a column or field of whole numbers.
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1


def write(*numbers: int | None) -> str:
    """Return the etag of these numbers; None, for one that a resource does not have, is left empty."""
    return f'"{".".join("" if number is None else str(number) for number in numbers)}"'


def read(etag: str, count: int) -> tuple[int | None, ...] | None:
    """Return the ``count`` numbers of an etag; None for text that ``write`` never returns for so many."""
    try:
        numbers = tuple(int(part) if part else None for part in etag[1:-1].split("."))
    except ValueError:
        return None
    in_range = all(number is None or _LEAST <= number <= _MOST for number in numbers)
    return numbers if in_range and len(numbers) == count and write(*numbers) == etag else None
