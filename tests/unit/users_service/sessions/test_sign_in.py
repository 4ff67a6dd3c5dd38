"""Signing in where nothing can be verified."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest
from vibework.users.v1.session_service_pb2 import SignInRequest

from chassis.clock import utc_now
from chassis.keyring import Keyring
from users_service.attempts.limiter import Attempts
from users_service.errors import PasswordHashingBusy
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.outbox.notices import Notices
from users_service.passwords.hasher import Passwords
from users_service.sessions.password_sign_in import PasswordSignIn

# Whoever asks it anything fails otherwise than expected.
NO_DATABASE = cast("Database", object())


class Full:
    """Passwords, so many that no more may wait."""

    def ensure_room(self) -> None:
        """Refuse."""
        raise PasswordHashingBusy


async def test_a_sign_in_that_would_be_refused_asks_no_database() -> None:
    """In a rush, who cannot be served costs nothing, and no attempt is counted."""
    keyring = Keyring.parse(f"k1:{'A' * 43}=")
    attempts = Attempts(
        NO_DATABASE,
        keyring.mac("attempts"),
        window=timedelta(minutes=1),
        per_account=1,
        per_address=1,
    )
    idempotency = Idempotency(NO_DATABASE, keyring, utc_now)
    signing_in = PasswordSignIn(
        NO_DATABASE, idempotency, cast("Passwords", Full()), attempts, utc_now, notices=Notices()
    )
    with pytest.raises(PasswordHashingBusy):
        await signing_in.sign_in(SignInRequest(email="user@example.com", password="correct horse"))
