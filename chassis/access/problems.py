"""Problems of a credential: the values of ``problem`` in the metadata of ``CALLER_UNKNOWN``."""

from __future__ import annotations

from enum import StrEnum, auto


class Problem(StrEnum):
    """Why a caller is not known by what it showed; the comment of the reason lists the same."""

    NO_CREDENTIAL = auto()
    CERTIFICATE_NAME = auto()
    TOKEN_MALFORMED = auto()
    TOKEN_ALGORITHM = auto()
    TOKEN_KEY_UNKNOWN = auto()
    TOKEN_SIGNATURE = auto()
    TOKEN_EXPIRED = auto()
    TOKEN_NOT_YET_VALID = auto()
    TOKEN_ISSUER = auto()
    TOKEN_AUDIENCE = auto()
    TOKEN_CLAIMS = auto()
