"""Keyset pagination (AIP-158): a page token holds the key of the last row, and is bound to one list.

A page begins after the key of the last row before it, so it does not move when rows are added or deleted. All list RPCs
page by this code: one binding, one form of a key, one answer to a token that does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from chassis.contract.fingerprint import copy_without, digest
from chassis.contract.pagetokens import InvalidPageToken, PageTokens
from chassis.contract.timestamps import from_micros, micros

K = TypeVar("K")
R = TypeVar("R")

# A key on the wire: a time and the id that decides between rows of one time.
Pair = tuple[int, str]
TimeAndId = tuple[datetime, str]

# Fields that may change from page to page: they say how a page is shown, not which rows the list has.
UNBOUND: Final = ("page_size", "page_token", "read_mask", "include_total", "current_session_token")


class Pages(Generic[K]):
    """Issues and reads the page tokens of lists whose rows have keys of type ``K``."""

    def __init__(self, tokens: PageTokens, to_pair: Callable[[K], Pair], from_pair: Callable[[int, str], K]) -> None:
        """``from_pair`` raises ValueError or OverflowError for a pair that no row can have."""
        self._tokens = tokens
        self._to_pair = to_pair
        self._from_pair = from_pair

    def after(self, request: Any) -> K | None:
        """Return the key after which the page asked for begins; None for the first page.

        Raises InvalidPageToken or PageTokenFilterMismatch.
        """
        if not request.page_token:
            return None
        content = self._tokens.read(request.page_token, list_of(request))
        try:
            time, id_ = content
            if type(time) is int and type(id_) is str:
                return self._from_pair(time, id_)
        except (TypeError, ValueError, OverflowError):
            pass
        # Another version of the service put something else into it.
        raise InvalidPageToken

    def token(self, request: Any, last: K | None) -> str:
        """Return the token of the page after the row with the key ``last``; empty where that is None."""
        return "" if last is None else self._tokens.issue(list_of(request), self._to_pair(last))


def by_time_and_id(tokens: PageTokens) -> Pages[TimeAndId]:
    """Return the pages of lists whose rows have a time to the microsecond and an id."""
    return Pages(tokens, lambda key: (micros(key[0]), key[1]), lambda time, id_: (from_micros(time), id_))


def cut(rows: list[R], size: int, key_of: Callable[[R], K | None]) -> tuple[list[R], K | None]:
    """Cut a page of ``size`` from rows of which one more was asked for; return it, and its last key if more follow."""
    if len(rows) <= size:
        return rows, None
    return rows[:size], key_of(rows[size - 1])


def list_of(request: Message) -> bytes:
    """Return the digest of the list that a request pages through: of its RPC, owner, filter and order.

    Requests for the same list have the same digest: the order of a filter's values makes no difference, nor does an
    empty filter, nor an order that is unspecified instead of named as the default, the first value after UNSPECIFIED.
    """
    return digest(_canonical(request))


def _canonical(request: Any) -> Message:
    copy = copy_without(request, UNBOUND)
    _settle(copy)
    if "order" in request.DESCRIPTOR.fields_by_name:
        copy.order = request.order or 1
    settled: Message = copy
    return settled


def _settle(message: Message) -> None:
    for field, value in message.ListFields():
        if field.message_type is None:
            if field.is_repeated and len(value) > 1:
                value[:] = sorted(set(value))
        elif not field.is_repeated:
            _settle(value)
            # An absent filter and an empty one are the same list.
            if not value.ListFields():
                message.ClearField(field.name)
