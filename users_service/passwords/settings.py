"""Settings of passwords: the cost of a hash, how many are computed at once, and which passwords may be chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chassis.settings import FeatureSettings
from users_service.passwords.cores import MOST


class PasswordSettings(FeatureSettings):
    """What a password hash costs, how many may be computed at once, and which passwords may be chosen."""

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
    common_passwords: Literal["refuse", "accept"] = "refuse"
    """A new password that is on the list of common ones: `refuse` it, or `accept` it; sign-in takes no notice."""
