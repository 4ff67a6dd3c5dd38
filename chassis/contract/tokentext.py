"""Token text: the one spelling of sealed bytes in what callers hand back, such as page tokens and resume tokens.

Base64 has several spellings of the same bytes: with padding or without, in two alphabets, with stray bits at the end.
Only the one that was issued is the token, so that text compares as tokens do: logs, caches and lists of used tokens can
rely on it. Every token of ours that is read back is written and read here; a test holds the code to that.
"""

from __future__ import annotations

import base64
import binascii


def write(sealed: bytes) -> str:
    """Return the text of a token: base64url (RFC 4648, 5) without padding."""
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def read(text: str) -> bytes:
    """Return the sealed bytes of a token. Raises ValueError for text that ``write`` does not return."""
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_")
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if write(sealed) != text:
        raise ValueError("another spelling")
    return sealed
