"""Service tokens: signed JWTs (RFC 7519) that name the service that calls, checked as RFC 8725 asks.

A token that was verified is remembered by its hash until it expires or its key leaves the set, so that the calls of a
caller cost one verification for each of its tokens. Only whose it is is remembered: the policy is asked at each call.
One that was refused is remembered for a second. A signature takes up to 0.2 ms of the thread that serves all calls, so
each connection has a number of them a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

import jwt

from chassis.access.errors import CallerRateLimited, CallerUnknown
from chassis.access.key_sources import Keys
from chassis.access.keysets import KeySet, PublicKey
from chassis.access.problems import Problem
from chassis.context.calls import Call

LEEWAY_SECONDS: Final = 30
# Bytes of a token: metadata has 16 KiB in all.
LONGEST_TOKEN: Final = 12 * 1024
# Tokens that are remembered, of either kind; beyond that the oldest are forgotten.
MOST_REMEMBERED: Final = 10_000
REFUSAL_SECONDS: Final = 1.0
VERIFICATIONS_PER_SECOND: Final = 20
_CLAIMS: Final = ("exp", "iss", "aud", "sub")
# A name as policies and logs hold one.
_is_subject = re.compile(r"[!-~]{1,255}").fullmatch
_SOON: Final = timedelta(seconds=1)

_PROBLEMS: Final[tuple[tuple[type[jwt.PyJWTError], Problem], ...]] = (
    (jwt.ExpiredSignatureError, Problem.TOKEN_EXPIRED),
    (jwt.ImmatureSignatureError, Problem.TOKEN_NOT_YET_VALID),
    (jwt.InvalidAudienceError, Problem.TOKEN_AUDIENCE),
    (jwt.InvalidIssuerError, Problem.TOKEN_ISSUER),
    (jwt.MissingRequiredClaimError, Problem.TOKEN_CLAIMS),
    (jwt.InvalidSignatureError, Problem.TOKEN_SIGNATURE),
    (jwt.InvalidAlgorithmError, Problem.TOKEN_ALGORITHM),
    (jwt.DecodeError, Problem.TOKEN_MALFORMED),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say: who issued it, for whom, and signed by which algorithms."""

    issuer: str
    audience: str
    algorithms: Sequence[str]


@dataclass(frozen=True, slots=True)
class _RememberedToken:
    subject: str
    expires: float
    key: PublicKey


class ServiceTokens:
    """Says whose a token is. ``wall``: the time of day, in seconds; ``now``: a monotonic clock."""

    def __init__(
        self,
        expected: Expected,
        keys: Keys,
        *,
        wall: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected = expected
        self._keys = keys
        self._wall = wall
        self._now = now
        self._verified: dict[bytes, _RememberedToken] = {}
        # Until when, and why.
        self._refused: dict[bytes, tuple[float, Problem]] = {}
        self._verifications: dict[str, tuple[int, int]] = {}
        keys.changed = self._forget_keys

    def subject_of(self, token: str, call: Call) -> str:
        """Return the subject of an acceptable token. Raises CallerUnknown or CallerRateLimited."""
        hashed = sha256(token.encode("utf-8", "surrogatepass")).digest()
        verified = self._verified.get(hashed)
        if verified is None:
            return self._first_time(token, hashed, call).subject
        if verified.expires <= self._wall():
            del self._verified[hashed]
            raise CallerUnknown(Problem.TOKEN_EXPIRED)
        return verified.subject

    def _first_time(self, token: str, hashed: bytes, call: Call) -> _RememberedToken:
        refused = self._refused.get(hashed)
        if refused is not None and self._now() < refused[0]:
            raise CallerUnknown(refused[1])
        self._count(call.context.peer())
        try:
            verified = self._verify(token)
        except CallerUnknown as error:
            _make_room(self._refused)
            self._refused[hashed] = (self._now() + REFUSAL_SECONDS, error.problem)
            raise
        _make_room(self._verified)
        self._verified[hashed] = verified
        return verified

    def _count(self, peer: str) -> None:
        """Count a verification of a connection, or raise CallerRateLimited."""
        second = int(self._now())
        began, count = self._verifications.get(peer, (second, 0))
        if began != second:
            count = 0
        elif count >= VERIFICATIONS_PER_SECOND:
            raise CallerRateLimited("tokens", VERIFICATIONS_PER_SECOND, _SOON)
        if len(self._verifications) >= MOST_REMEMBERED:
            self._verifications = {peer: seen for peer, seen in self._verifications.items() if seen[0] == second}
        self._verifications[peer] = (second, count + 1)

    def _verify(self, token: str) -> _RememberedToken:
        if len(token) > LONGEST_TOKEN:
            raise CallerUnknown(Problem.TOKEN_MALFORMED)
        try:
            key, algorithm = self._key_of(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key.public(algorithm),
                algorithms=[algorithm],
                issuer=self._expected.issuer,
                audience=self._expected.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise CallerUnknown(_problem_of(error)) from None
        return _RememberedToken(_subject_of(claims), self._expiry_of(claims), key)

    def _key_of(self, header: dict[str, Any]) -> tuple[PublicKey, str]:
        """Return the key that a token names, and its algorithm, which must be one of ours and one of the key's."""
        algorithm, name = header.get("alg"), header.get("kid")
        # What a header calls critical must be understood (RFC 7515, 4.1.11), and no extension is.
        if "crit" in header or "b64" in header:
            raise CallerUnknown(Problem.TOKEN_MALFORMED)
        if algorithm not in self._expected.algorithms:
            raise CallerUnknown(Problem.TOKEN_ALGORITHM)
        key = self._keys.current.get(name) if isinstance(name, str) else None
        if key is None:
            self._keys.want()
            raise CallerUnknown(Problem.TOKEN_KEY_UNKNOWN)
        if algorithm not in key.algorithms:
            raise CallerUnknown(Problem.TOKEN_ALGORITHM)
        return key, algorithm

    def _expiry_of(self, claims: dict[str, Any]) -> float:
        """Return until when a token is taken, clocks that differ allowed for."""
        wall = self._wall()
        expires, begins = (_number(claims.get(name)) for name in ("exp", "nbf"))
        if expires is None or ("nbf" in claims and begins is None):
            raise CallerUnknown(Problem.TOKEN_CLAIMS)
        if begins is not None and begins > wall + LEEWAY_SECONDS:
            raise CallerUnknown(Problem.TOKEN_NOT_YET_VALID)
        if expires + LEEWAY_SECONDS <= wall:
            raise CallerUnknown(Problem.TOKEN_EXPIRED)
        return expires + LEEWAY_SECONDS

    def _forget_keys(self, keys: KeySet) -> None:
        """Forget the tokens whose key has left the set, and that tokens were refused: their key may be there now."""
        self._refused.clear()
        remembered = self._verified.items()
        self._verified = {hashed: known for hashed, known in remembered if keys.get(known.key.name) == known.key}


def _problem_of(error: jwt.PyJWTError) -> Problem:
    return next((problem for kind, problem in _PROBLEMS if isinstance(error, kind)), Problem.TOKEN_MALFORMED)


def _subject_of(claims: dict[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not _is_subject(subject):
        raise CallerUnknown(Problem.TOKEN_CLAIMS)
    return subject


def _number(value: object) -> float | None:
    """Return a NumericDate (RFC 7519, 2) that Python can compare; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e12 else None


def _make_room(remembered: dict[bytes, Any]) -> None:
    if len(remembered) >= MOST_REMEMBERED:
        del remembered[next(iter(remembered))]
