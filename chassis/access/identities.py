"""Identities: the name of a caller, from its client certificate or from the token that its call brings.

A name says how it was proven: ``spiffe://…`` and ``dns:…`` are those of certificates, ``jwt:…`` those of tokens, so
that whoever gets to choose the subject of a token is not taken for a certificate's owner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from chassis.access.errors import CallerUnknown
from chassis.access.problems import Problem
from chassis.context.calls import Call

AUTHORIZATION: Final = "authorization"
_BEARER: Final = "bearer "
# SPIFFE ids are of no more than 2,048 bytes (SPIFFE-ID, 2.4), DNS names of 253 characters.
_is_spiffe = re.compile(rb"spiffe://[!-~]{1,2039}").fullmatch
_is_dns = re.compile(rb"[A-Za-z0-9._*-]{1,253}").fullmatch


class TokenReader(Protocol):
    """Knows whose a token is."""

    def subject_of(self, token: str, call: Call) -> str:
        """Return the subject of a token that is acceptable; raises CallerUnknown or CallerRateLimited."""


class Identities:
    """Says who calls. ``tokens``: None where none are taken; ``certificates``: whether callers must have one."""

    def __init__(self, tokens: TokenReader | None, *, certificates: bool) -> None:
        self._tokens = tokens
        self._certificates = certificates

    def caller_of(self, call: Call) -> str:
        """Return the name of a caller. Raises CallerUnknown where there is none, CallerRateLimited as ``TokenReader``.

        Where a call comes with a token over a connection with a certificate, the token names the caller, and the
        certificate must be one that could name one, too.
        """
        certified = name_in(call.context.auth_context()) if self._certificates else None
        if self._tokens is not None:
            token = bearer(call.metadata)
            if token is not None:
                return f"jwt:{self._tokens.subject_of(token, call)}"
        if certified is None:
            raise CallerUnknown(Problem.NO_CREDENTIAL)
        return certified

    def certified(self, call: Call) -> str:
        """Return the name in the certificate of a call's connection. Raises CallerUnknown where there is none."""
        if not self._certificates:
            raise CallerUnknown(Problem.NO_CREDENTIAL)
        return name_in(call.context.auth_context())


def bearer(metadata: Any) -> str | None:
    """Return the token of a call (RFC 6750, 2.1); None where it brings none. Raises CallerUnknown."""
    given = [value for key, value in metadata if key == AUTHORIZATION]
    if not given:
        return None
    if len(given) > 1 or not given[0][: len(_BEARER)].lower() == _BEARER:
        raise CallerUnknown(Problem.TOKEN_MALFORMED)
    return str(given[0][len(_BEARER) :]).strip()


def name_in(connection: Mapping[str, Sequence[bytes]]) -> str:
    """Return the name of the certificate of a connection (gRPC's auth context), of its subject alternative names.

    A SPIFFE id counts before DNS names, of which the first counts. Raises CallerUnknown where there is none, and for
    several SPIFFE ids, which no certificate may have (X509-SVID, 2).
    """
    spiffe = [uri for uri in connection.get("peer_uri", ()) if uri.startswith(b"spiffe://")]
    if len(spiffe) == 1 and _is_spiffe(spiffe[0]):
        return spiffe[0].decode("ascii")
    names = connection.get("peer_dns", ())
    if not spiffe and names and _is_dns(names[0]):
        return f"dns:{names[0].decode('ascii').lower()}"
    raise CallerUnknown(Problem.CERTIFICATE_NAME)
