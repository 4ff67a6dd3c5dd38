"""Session tokens: 256 random bits, of which only a SHA-256 is ever stored."""

from __future__ import annotations

import hashlib
import secrets

TOKEN_BYTES = 32


def generate() -> str:
    """Return a new token, in base64url."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> bytes:
    """Return what is stored of a token. A plain hash will do: nobody guesses 256 bits, so no salt or cost is needed."""
    return hashlib.sha256(token.encode()).digest()
