"""Made-up users in the form that ``users-service import`` takes, a line each; what docs/moving-users.md measures with.

``python -m tests.bench.importable N > users.jsonl``. All have a password, every second one a proved address or a live
session, every fourth an account of a provider with its tokens.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

# Of some password, with the default cost.
HASH: Final = "$argon2id$v=19$m=19456,t=2,p=1$1Jwo7qTCL5TDJKIVPpg0Rg$QRfC6jkfGANCExrDZKfCCz+Qw9T4HQ89uln6bkRLDUw"
AGENT: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
LIVES: Final = timedelta(days=27)


def users(count: int, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield so many users whose sessions are open for ``LIVES`` from now."""
    before, ends = _text(now - timedelta(days=365)), _text(now + LIVES)
    for number in range(count):
        user: dict[str, Any] = {"id": f"old_{number:09}", "email": f"person.{number}@example.com"}
        user |= {"name": f"Person {number}", "created_at": before, "updated_at": before, "password_hash": HASH}
        digest = hashlib.sha256(str(number).encode()).digest()
        if number % 2:
            user["email_verified"] = True
        else:
            session = {"token_sha256": base64.b64encode(digest).decode(), "expires_at": ends, "user_agent": AGENT}
            user["sessions"] = [session | {"created_at": _text(now), "ip_address": f"203.0.113.{number % 250}"}]
        if number % 4 == 0:
            tokens = {"access_token": f"access-{digest.hex()}", "refresh_token": f"refresh-{digest.hex()}"}
            account = {"provider": "google", "account_id": str(10**20 + number), "tokens": tokens}
            user["accounts"] = [{"account": account, "created_at": before, "updated_at": before}]
        yield user


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Write them."""
    for user in users(int(sys.argv[1]), datetime.now(UTC)):
        sys.stdout.buffer.write(orjson.dumps(user) + b"\n")


if __name__ == "__main__":
    main()
