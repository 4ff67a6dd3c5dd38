"""Made-up users: names, addresses at domains that nobody can own, and where their devices are."""

from __future__ import annotations

import random
import unicodedata
from datetime import datetime, timedelta
from typing import Final

from chassis.commands.fake_people import full_name, moment
from chassis.contract.ids import id_at
from users_service.users.model import User

# RFC 2606 keeps these for examples: a message that escapes reaches nobody.
_DOMAINS: Final = ("example.com", "example.com", "example.net", "example.org", "mail.example.com", "corp.example.org")
_HISTORY: Final = timedelta(days=730)
# Letters that Unicode does not take apart into a plain one and an accent.
_PLAIN: Final = str.maketrans({"ø": "o", "'": None})

_CHROME: Final = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
_SAFARI: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6"
_WINDOWS: Final = "Windows NT 10.0; Win64; x64"
_MAC: Final = "Macintosh; Intel Mac OS X 10_15_7"
_AGENTS: Final = (
    f"Mozilla/5.0 ({_WINDOWS}) {_CHROME} Safari/537.36",
    f"Mozilla/5.0 ({_WINDOWS}) {_CHROME} Safari/537.36 Edg/142.0.0.0",
    f"Mozilla/5.0 ({_WINDOWS}; rv:144.0) Gecko/20100101 Firefox/144.0",
    f"Mozilla/5.0 ({_MAC}) {_CHROME} Safari/537.36",
    f"Mozilla/5.0 ({_MAC}) {_SAFARI} Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Mobile Safari/537.36",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {_SAFARI} Mobile/15E148 Safari/604.1",
)


def user(chance: random.Random, seed: int, number: int, now: datetime) -> User:
    """Make up a user. Addresses differ between numbers and between seeds; more of the users are new than old."""
    name = full_name(chance)
    created = moment(chance, now - _HISTORY, now, lateness=1.6)
    image = f"https://images.example.com/people/{seed}/{number}.jpg" if chance.random() < 0.6 else ""
    return User(
        id=id_at("user", created, chance.getrandbits(74)),
        email=f"{_local_part(name)}.{seed}.{number}@{chance.choice(_DOMAINS)}",
        email_verified=chance.random() < 0.85,
        name=name if chance.random() < 0.92 else "",
        image=image,
        revision=1,
        created_at=created,
        updated_at=moment(chance, created, now) if chance.random() < 0.3 else created,
    )


def user_agent(chance: random.Random) -> str:
    """Return what a browser says of itself."""
    return chance.choice(_AGENTS)


def ip_address(chance: random.Random) -> str:
    """Return an address of the ranges kept for documentation: RFC 5737, for one in four RFC 3849."""
    if chance.random() < 0.25:
        return "2001:db8:" + ":".join(f"{chance.getrandbits(16) or 1:x}" for _ in range(6))
    return f"{chance.choice(('192.0.2', '198.51.100', '203.0.113'))}.{chance.randint(1, 254)}"


def _local_part(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.lower().translate(_PLAIN))
    return "".join(letter for letter in decomposed.replace(" ", ".") if letter.isascii())
