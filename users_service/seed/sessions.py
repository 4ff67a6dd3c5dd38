"""Made-up sessions, as the rules of ``sessions.lifetime`` would have left them: live, refreshed, expired, revoked."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any, Final

from chassis.commands.fake_people import moment
from chassis.contract.ids import id_at
from users_service.seed import people
from users_service.sessions import lifetime
from users_service.sessions.model import REVOKED, SIGNED_OUT
from users_service.users.model import User

# Of ended sessions only the last weeks' are there: the purge takes those before.
_HISTORY: Final = timedelta(days=36)
_MOST: Final = 12


def rows(chance: random.Random, user: User, now: datetime) -> list[dict[str, Any]]:
    """Return the columns of a user's sessions: none or one for most, a dozen at most."""
    number = min(_MOST, int(chance.expovariate(0.5)))
    return [_row(chance, user, now) for _ in range(number)]


def _row(chance: random.Random, user: User, now: datetime) -> dict[str, Any]:
    begun = moment(chance, max(user.created_at, now - _HISTORY), now, lateness=1.4)
    brief = chance.random() < 0.15
    last = lifetime.absolute_end(begun, do_not_remember=brief)
    extended = begun if brief or chance.random() < 0.4 else moment(chance, begun, min(now, last))
    expires = min(last, lifetime.first_end(extended, do_not_remember=brief))
    seen = moment(chance, extended, min(now, expires))
    revoked = moment(chance, seen, min(now, expires)) if chance.random() < 0.2 else None
    return {
        "id": id_at("sess", begun, chance.getrandbits(74)),
        "user_id": user.id,
        # No token has this hash, so nobody can use the session.
        "token_hash": chance.randbytes(32),
        "expires_at": expires,
        "absolute_expires_at": last,
        "extended_at": extended,
        "last_seen_at": seen,
        "revoked_at": revoked,
        "revoked_reason": revoked and chance.choice((SIGNED_OUT, SIGNED_OUT, REVOKED)),
        "do_not_remember": brief,
        "ip_address": people.ip_address(chance),
        "user_agent": people.user_agent(chance),
        "created_at": begun,
    }
