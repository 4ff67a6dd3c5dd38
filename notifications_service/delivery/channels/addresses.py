"""Email addresses that mails can go to: of ASCII, without quotation marks and comments (RFC 5321, Mailbox)."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = r"[A-Za-z0-9-]{1,63}"
_is_address = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(\.{_LABEL})*").fullmatch


def is_address(text: str) -> bool:
    """Say whether the text is an address, and nothing but an address."""
    return len(text) <= 254 and _is_address(text) is not None
