"""Settings of password hashing: the cost of a hash, and how many are computed at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.settings import FeatureSettings
from users_service.passwords.cores import MOST


class PasswordSettings(FeatureSettings):
    """What a password hash costs, and how many may be computed at once."""

    argon2_memory_kib: Annotated[int, Field(ge=19_456, le=1_048_576)] = 19_456
    """Argon2id memory of one hash (OWASP: 19 MiB at least)."""
    argon2_passes: Annotated[int, Field(ge=2, le=20)] = 2
    """Argon2id passes (OWASP: 2 at least)."""
    argon2_threads: Annotated[int, Field(ge=0, le=MOST)] = 0
    """Hashes computed at once, each in a process of its own; 0: one per core, as far as the memory goes."""
    argon2_queue: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Hashes that may wait before further ones are refused."""
    password_hashing_memory_mib: Annotated[int, Field(ge=0, le=1_048_576)] = 0
    """Memory of all hashes at once; a larger imported hash is refused; 0: half of the machine's or the container's."""
