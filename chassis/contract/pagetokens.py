"""Page tokens and page sizes (AIP-158): opaque, authenticated and bound to the filter.

A token holds the key of the last row (``keyset``), so it stays good after that row is gone.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from chassis.contract import tokentext
from chassis.errors import InvalidArgument, InvalidFields
from chassis.keyring import Cipher, CiphertextInvalid, KeyMissing, Keyring

DEFAULT_PAGE_SIZE: Final = 20
MAX_PAGE_SIZE: Final = 100
_FINGERPRINT_BYTES: Final = 16
_MAX_TOKEN_CHARACTERS: Final = 2_048


class InvalidPageToken(InvalidArgument):
    """The page token was not made by this service, or was changed."""

    reason = "PAGE_TOKEN_INVALID"
    template = "page_token is not a token of this list"


class PageTokenFilterMismatch(InvalidArgument):
    """The page token belongs to a list with another filter or order."""

    reason = "PAGE_TOKEN_FILTER_MISMATCH"
    template = "page_token belongs to a request with another filter; start again without it"


class PageTokens:
    """Issues and reads the tokens of one service."""

    def __init__(self, keyring: Keyring) -> None:
        self._cipher: Cipher = keyring.cipher("page-tokens")

    def issue(self, fingerprint: bytes, position: Any) -> str:
        """Return the token for the page after ``position`` (JSON-able) of the list ``fingerprint``.

        ``fingerprint``: of the request without page size and token (``chassis.contract.fingerprint``).
        """
        content = fingerprint[:_FINGERPRINT_BYTES] + orjson.dumps(position)
        return tokentext.write(self._cipher.encrypt(content))

    def read(self, token: str, fingerprint: bytes) -> Any:
        """Return the position in a token.

        Raises ``InvalidPageToken`` and ``PageTokenFilterMismatch``.
        """
        content = self._open(token)
        if content[:_FINGERPRINT_BYTES] != fingerprint[:_FINGERPRINT_BYTES]:
            raise PageTokenFilterMismatch
        return orjson.loads(content[_FINGERPRINT_BYTES:])

    def _open(self, token: str) -> bytes:
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise InvalidPageToken
        try:
            return self._cipher.decrypt(tokentext.read(token))
        except (ValueError, CiphertextInvalid, KeyMissing):
            raise InvalidPageToken from None


def page_size(requested: int, default: int = DEFAULT_PAGE_SIZE, maximum: int = MAX_PAGE_SIZE) -> int:
    """Return the size to use: 0 means ``default``, more than ``maximum`` is coerced to it.

    Raises ``InvalidFields`` when negative (AIP-158).
    """
    if requested < 0:
        raise InvalidFields.of("page_size", "must not be negative", "INT32_GTE")
    return min(requested or default, maximum)
