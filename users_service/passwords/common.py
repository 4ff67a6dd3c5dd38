"""The list of common passwords: what it holds, and how a password is compared with it.

``script/common-passwords`` writes the list; decision 0091 says from what, and why so.
"""

from __future__ import annotations

import gzip
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from importlib.resources import files
from itertools import groupby
from typing import Final

# Beside this module: one password a line, ASCII, folded, by length and then by characters.
FILE: Final = "common_passwords.txt.gz"


def folded(password: str) -> str:
    """Return what a password is compared by: Unicode's NFKC, without case.

    Somebody who guesses tries capitals, too, and full-width letters come to the same keys.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", password).casefold())


class CommonPasswords:
    """A set of folded passwords, in about as much memory as their characters take.

    Those of one length stand in one text, sorted, and are found by bisection, in 4 µs at most. A ``frozenset`` of them
    would be quicker by that and take ten times the memory, in every process.
    """

    def __init__(self, passwords: Iterable[str]) -> None:
        """``passwords``: folded, by length and then by characters."""
        self._by_length = {length: "".join(group) for length, group in groupby(passwords, key=len)}

    def __contains__(self, password: str) -> bool:
        """Whether a password is on the list as a whole, once it is folded."""
        wanted = folded(password)
        length, text = len(wanted), self._by_length.get(len(wanted))
        if text is None:
            return False
        places = range(0, len(text), length)
        return text.startswith(wanted, length * bisect_left(places, wanted, key=lambda at: text[at : at + length]))

    def __len__(self) -> int:
        return sum(len(text) // length for length, text in self._by_length.items())


def common_passwords() -> CommonPasswords:
    """Read the list that comes with the service: some milliseconds, so once, before the server takes calls."""
    compressed = files(__package__).joinpath(FILE).read_bytes()
    return CommonPasswords(gzip.decompress(compressed).decode("ascii").splitlines())
