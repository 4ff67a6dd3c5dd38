"""Made-up verifications: of addresses that are not verified yet, and a few resets of passwords."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from chassis.commands.fake_people import moment
from chassis.contract.ids import id_at
from users_service.users.email import normalize
from users_service.users.model import User
from users_service.verifications import secrets
from users_service.verifications.model import Purpose, SecretKind, Verification, lifetime
from users_service.verifications.repository import COLUMNS


class Verifications:
    """Makes verifications up; their secrets are drawn as real ones are, and told to nobody."""

    def __init__(self, hasher: secrets.SecretHasher) -> None:
        self._hasher = hasher

    def rows(self, chance: random.Random, user: User, now: datetime) -> list[dict[str, Any]]:
        """Return the columns of a user's verifications: none for most."""
        found = []
        if not user.email_verified and chance.random() < 0.7:
            found.append(self._row(chance, user, Purpose.EMAIL_VERIFICATION, SecretKind.TOKEN, now))
        if chance.random() < 0.03:
            found.append(self._row(chance, user, Purpose.PASSWORD_RESET, SecretKind.CODE, now))
        return found

    def _row(
        self, chance: random.Random, user: User, purpose: Purpose, kind: SecretKind, now: datetime
    ) -> dict[str, Any]:
        good_for, identifier = lifetime(purpose, kind), normalize(user.email)
        # About half of them have expired.
        created = moment(chance, max(user.created_at, now - max(2 * good_for, timedelta(hours=1))), now)
        verification = Verification(
            id=id_at("vrf", created, chance.getrandbits(74)),
            identifier=identifier,
            value=self._hasher.hash(purpose, identifier, kind, secrets.generate(kind)),
            purpose=purpose,
            kind=kind,
            attempts=chance.choice((0, 0, 0, 1, 2)),
            consumed_at=None,
            expires_at=created + good_for,
            created_at=created,
        )
        values = {column.name: getattr(verification, column.name) for column in COLUMNS}
        return {**values, "updated_at": created}
