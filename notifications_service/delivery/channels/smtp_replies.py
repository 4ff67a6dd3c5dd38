"""Verdicts on a mail by the answer, or the silence, of its relay: one table, by the stage at which it came.

Codes are those of RFC 5321 and RFC 4954 (authentication), enhanced status codes those of RFC 3463.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import IntEnum
from typing import Final

from notifications_service.delivery.channels.channel import Outcome
from notifications_service.outbox.model import Reason

DETAIL_CHARACTERS: Final = 500
PROVIDER_ID_CHARACTERS: Final = 255
# How long to leave a relay alone that asks for fewer mails and does not say for how long.
RATE_PAUSE: Final = timedelta(minutes=1)
# What a relay may ask for at most.
LONGEST_PAUSE: Final = timedelta(hours=1)


class Stage(IntEnum):
    """How far a mail has come."""

    WAITING = 0
    CONNECT = 1
    EHLO = 2
    TLS = 3
    AUTH = 4
    MAIL = 5
    RCPT = 6
    DATA = 7
    CONTENT = 8


_WORDS: Final = {
    Stage.WAITING: "waiting for a connection",
    Stage.CONNECT: "connecting",
    Stage.EHLO: "greeting",
    Stage.TLS: "securing the connection",
    Stage.AUTH: "signing in",
    Stage.MAIL: "naming the sender",
    Stage.RCPT: "naming the recipient",
    Stage.DATA: "announcing the content",
    Stage.CONTENT: "handing over the content",
}
# 534, 535, 538: not like this, wrong, not without encryption.
AUTH_REQUIRED: Final = 530
_AUTH_CODES: Final = frozenset({AUTH_REQUIRED, 534, 535, 538})
# Storage is full; nothing is accepted. 4.3.0 is not here: relays give it for single recipients, too.
_SYSTEM_TROUBLE: Final = frozenset({"4.3.1", "4.3.2"})
_TOO_LARGE: Final = frozenset({"5.2.3", "5.3.4"})
# Congestion; "unusual rate" of the large mailbox providers.
_RATE_STATUS: Final = frozenset({"4.4.5", "4.7.28"})
_says_rate = re.compile(
    r"too (many (?!recipients|errors)|fast|quickly|much mail)|throttl|slow down|rate.{0,12}(limit|exceed)"
    r"|(daily|hourly|sending|message|mail|connection)s?\b.{0,12}(quota|limit).{0,12}(exceed|reach)"
    r"|exceeded.{0,30}(rate|sending|daily|hourly|message|connection).{0,12}(limit|quota)",
    re.IGNORECASE,
).search
_says_room = re.compile(r"\b(size|storage|space|disk|full|over.?quota)\b|mailbox.{0,12}quota", re.IGNORECASE).search
_says_mailbox = re.compile(r"\b(recipient|mailbox|user)\b", re.IGNORECASE).search
_enhanced = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?!\d)\s*").match
_asks_for = re.compile(r"\b(\d{1,5})\s*(s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?)\b", re.IGNORECASE).search
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
_address = re.compile(r"[^\s<>()\[\],:;\"']+@[^\s<>()\[\],:;\"']+")
_url = re.compile(r"(https?://[^\s/?#<>\"']+)[^\s<>\"']*", re.IGNORECASE)
_queued_as = re.compile(r"(?:queued as|\bid[= ])\s*<?([^\s<>;,]{1,255})", re.IGNORECASE).search
_looks_like_an_id = re.compile(r"(?=\S*\d)[A-Za-z0-9][A-Za-z0-9._@:/=-]{7,254}").fullmatch


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the relay: its code, enhanced status (empty: none) and what else it says, in one line."""

    code: int
    status: str
    text: str

    @property
    def is_temporary(self) -> bool:
        """Say whether the same may be accepted later (4yz)."""
        return 400 <= self.code < 500

    @classmethod
    def parse(cls, code: int, message: str) -> Reply:
        """Take apart what follows the code; of an answer of several lines each may begin with the status."""
        lines = message.splitlines()
        found = [match[1] for line in lines if (match := _enhanced(line))]
        text = " ".join(line[match.end() :] if (match := _enhanced(line)) else line for line in lines)
        return cls(code, found[0] if found else "", " ".join(text.split()))


def accepted(reply: Reply) -> Outcome:
    """Return the outcome of a mail that the relay took over."""
    known_as = _provider_id(reply.text)
    return Outcome(smtp_code=reply.code, enhanced_status=reply.status, provider_message_id=known_as)


def refused(stage: Stage, reply: Reply, recipient: str) -> Outcome:
    """Return the outcome of a mail whose way ended with this answer at this stage."""
    if not 400 <= reply.code < 600:  # an answer that fits no question: the relay speaks something else
        return broken(stage)
    judged = _of_the_session(stage, reply) or _of_the_rate(stage, reply) or _of_the_mail(stage, reply)
    return replace(
        judged,
        detail=_detail(stage, reply, recipient),
        smtp_code=reply.code,
        enhanced_status=reply.status,
    )


def _of_the_session(stage: Stage, reply: Reply) -> Outcome | None:
    """Judge an answer that is about encryption or credentials, at whatever stage it comes."""
    if stage is Stage.TLS or (reply.code == AUTH_REQUIRED and "STARTTLS" in reply.text.upper()):
        return Outcome(Reason.TLS, blames_provider=True)
    if reply.code in _AUTH_CODES or (stage is Stage.AUTH and not reply.is_temporary):
        return Outcome(Reason.AUTH, blames_provider=True)
    return None


def _of_the_rate(stage: Stage, reply: Reply) -> Outcome | None:
    """Judge an answer that asks for fewer mails."""
    says_so = reply.status in _RATE_STATUS or (_says_rate(reply.text) and not _says_room(reply.text))
    if not (reply.is_temporary and says_so):
        return None
    # A limit of one mailbox says nothing of mails to others.
    of_one = reply.status.startswith(("4.1.", "4.2.")) or _says_mailbox(reply.text)
    of_mailbox = stage >= Stage.RCPT and bool(of_one)
    pause = _asked(reply.text) or RATE_PAUSE
    return Outcome(Reason.RATE_LIMITED, blames_provider=not of_mailbox, retry_after=pause)


def _of_the_mail(stage: Stage, reply: Reply) -> Outcome:
    """Judge any other answer. What is said before the recipient is named is said to all mails, and final for none."""
    of_all = stage < Stage.RCPT
    if stage >= Stage.MAIL and _is_too_large(reply):
        return Outcome(Reason.PAYLOAD_TOO_LARGE, final=True)
    if reply.is_temporary:
        blames = of_all or reply.status in _SYSTEM_TROUBLE
        return Outcome(Reason.REJECTED_TEMPORARY, blames_provider=blames, retry_after=_asked(reply.text))
    return Outcome(Reason.REJECTED_PERMANENT, final=not of_all, blames_provider=of_all)


def broken(stage: Stage) -> Outcome:
    """Return the outcome of a mail whose connection ended, or went out of step, at this stage.

    From the recipient on the provider is not blamed: else a mail that breaks every connection would be tried for ever.
    """
    if stage >= Stage.CONTENT:
        detail = "the connection broke after the content was handed over: the mail may have been accepted"
        return Outcome(reason=Reason.OUTCOME_UNKNOWN, detail=detail)
    detail = f"{_WORDS[stage]}: the connection broke"
    return Outcome(reason=Reason.CONNECTION, blames_provider=stage < Stage.RCPT, detail=detail)


def unreachable() -> Outcome:
    """Return the outcome of a mail for which no connection could be made."""
    return Outcome(reason=Reason.CONNECTION, blames_provider=True, detail="the relay cannot be reached")


def silent(stage: Stage) -> Outcome:
    """Return the outcome of a mail for which the relay did not answer in time, at this stage; blamed as ``broken``."""
    detail = f"{_WORDS[stage]}: no answer in time"
    if stage >= Stage.CONTENT:
        detail += ", the mail may have been accepted"
    return Outcome(reason=Reason.TIMEOUT, blames_provider=stage < Stage.RCPT, detail=detail)


def insecure(why: str) -> Outcome:
    """Return the outcome of a mail for which no secure connection could be made; ``why`` is a fixed text of ours."""
    return Outcome(reason=Reason.TLS, blames_provider=True, detail=why)


def no_sign_in(why: str) -> Outcome:
    """Return the outcome of a mail where the relay offers no way to sign in; ``why`` is a fixed text of ours."""
    return Outcome(reason=Reason.AUTH, blames_provider=True, detail=why)


def too_large(most: int) -> Outcome:
    """Return the outcome of a mail that is larger than the relay said it takes (RFC 1870)."""
    detail = f"the relay takes mails of at most {most} bytes"
    return Outcome(reason=Reason.PAYLOAD_TOO_LARGE, final=True, detail=detail)


def _is_too_large(reply: Reply) -> bool:
    # 552 alone: exceeded storage allocation, which is the mailbox's where the status says so (5.2.2).
    return reply.status in _TOO_LARGE or (reply.code == 552 and not reply.status)


def _asked(text: str) -> timedelta | None:
    found = _asks_for(text)
    if not found:
        return None
    return min(timedelta(seconds=int(found[1]) * _UNITS[found[2][0].lower()]), LONGEST_PAUSE) or None


def _detail(stage: Stage, reply: Reply, recipient: str) -> str:
    # What is said of credentials may repeat them.
    said = "" if stage is Stage.AUTH else _masked(reply.text, recipient)
    code = f"{reply.code} {reply.status}".rstrip()
    return f"{_WORDS[stage]}: {code} {said}".rstrip()[:DETAIL_CHARACTERS]


def _masked(text: str, recipient: str) -> str:
    """Return what the relay says without addresses and without what URLs may carry; filters quote both."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    shown = _url.sub(r"\1/…", shown)
    shown = _address.sub("…@…", shown)
    local = recipient.rpartition("@")[0]
    if len(local) > 2:
        shown = re.sub(re.escape(local), "…", shown, flags=re.IGNORECASE)
    return shown


def _provider_id(text: str) -> str:
    """Return what the relay calls the mail: what follows `queued as` or `id`, or the first word that looks like it."""
    named = _queued_as(text)
    if named:
        return named[1]
    words = (word.strip("<>()[],;") for word in text.split())
    return next((word for word in words if _looks_like_an_id(word)), "")[:PROVIDER_ID_CHARACTERS]
