"""Writes the list of common passwords from what two packages have embedded.

They are pinned in requirements/common-passwords.txt, and NOTICE has their licences:

- Django: the 20,000 most frequent of Have I Been Pwned, which its validator of passwords refuses.
- zxcvbn: the 30,000 most frequent of Mark Burnett's ten million, which its estimate of strength starts from.

The list holds what a new password may be: at least ``SHORTEST`` characters. ``--check`` writes nothing, and fails where
the list that is there is another one.
"""

from __future__ import annotations

import gzip
import runpy
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from users_service.passwords import common

# Characters of a new password, by the contract.
SHORTEST: Final = 8
LIST: Final = Path(common.__file__).parent / common.FILE


def of_django() -> list[str]:
    """Return Django's list."""
    path = Path(str(distribution("django").locate_file("django/contrib/auth/common-passwords.txt.gz")))
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def of_zxcvbn() -> list[str]:
    """Return the list of zxcvbn, without those of words and names that it has, too."""
    path = str(distribution("zxcvbn").locate_file("zxcvbn/frequency_lists.py"))
    found: list[str] = runpy.run_path(path)["FREQUENCY_LISTS"]["passwords"]
    return found


def listed(passwords: Iterable[str]) -> list[str]:
    """Return them as they are stored.

    What is not ASCII is left out: of this length, that is only the remains of texts that were read in a wrong encoding.
    """
    kept = {each for each in map(common.folded, passwords) if each.isascii() and len(each) >= SHORTEST}
    return sorted(kept, key=lambda each: (len(each), each))


def main() -> int:
    """Write the list, or compare it."""
    text = "".join(f"{each}\n" for each in listed([*of_django(), *of_zxcvbn()])).encode()
    if sys.argv[1:] == ["--check"]:
        current = LIST.exists() and gzip.decompress(LIST.read_bytes()) == text
        print(f"{LIST.name}: {'up to date' if current else 'differs: run script/common-passwords'}")
        return 0 if current else 1
    # No time and no name, so that the same list is the same file.
    LIST.write_bytes(gzip.compress(text, mtime=0))
    print(f"{LIST.name}: {len(text.splitlines()):,} passwords, {LIST.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
