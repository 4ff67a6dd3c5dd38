"""Every list RPC, by descriptor, gives the same answers to page tokens that do not fit; those to come included."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import Default

from chassis.contract.keyset import list_of
from chassis.contract.pagetokens import PageTokens
from chassis.keyring import Keyring
from tests.contract.requests import NOBODY
from tests.contract.servers import Answer, Channels, call
from tests.contract.test_descriptors import PROMISED
from tests.harness import notifications, spellings, users

KEYS = {"vibework.users.v1": users.SECRET_KEYS, "vibework.notifications.v1": notifications.SECRET_KEYS}
# What no version of a list puts into a token, and what only another version might.
SHAPES: list[Any] = [
    *(None, 7, "x", [], [1], [1, "x", 2], {"time": 1, "id": "x"}, ["x", 1], [1.5, "x"], [True, "x"], [1, None]),
    *([10**18, "x"], [-(10**18), "x"]),
]

# Lists whose rows have no time: the part of a key that others have it in is 0.
BY_NAME = {"vibework.notifications.v1.PreferenceService/ListCategories"}


def _lists() -> list[str]:
    found = []
    for service, names in PROMISED.items():
        for name in names.split():
            method = Default().FindServiceByName(service).methods_by_name[name]
            if "page_token" in method.input_type.fields_by_name:
                found.append(f"{service}/{name}")
    return found


LISTS = _lists()


def _request(rpc: str, **changed: Any) -> dict[str, Any]:
    """Return a request that names an owner where the list has one."""
    service, _, name = rpc.partition("/")
    fields = Default().FindServiceByName(service).methods_by_name[name].input_type.fields_by_name
    return ({"userId": NOBODY} if "user_id" in fields else {}) | changed


def _token(rpc: str, content: Any, request: dict[str, Any]) -> str:
    """Return a token that the server's own keys have sealed for the list of a request."""
    service, _, name = rpc.partition("/")
    input_type = Default().FindServiceByName(service).methods_by_name[name].input_type
    message = json_format.ParseDict(request, message_factory.GetMessageClass(input_type)())
    tokens = PageTokens(Keyring.parse(KEYS[service.rpartition(".")[0]]))
    return tokens.issue(list_of(message), content)


def _answer(channels: Channels, rpc: str, request: dict[str, Any]) -> Answer | None:
    """Call a list; None where it is not built yet."""
    service, _, name = rpc.partition("/")
    answer = call(channels[service.rpartition(".")[0]], service, name, request)
    return None if answer.info.reason == "NOT_IMPLEMENTED" else answer


def test_there_are_lists() -> None:
    """The tests below find what they are about."""
    assert {name.rpartition("/")[2] for name in LISTS} > {
        "ListUsers",
        "ListSessions",
        "ListAccounts",
        "ListNotifications",
    }


@pytest.mark.parametrize("rpc", LISTS)
@pytest.mark.parametrize("content", SHAPES, ids=lambda content: orjson.dumps(content).decode())
def test_a_position_of_another_shape_is_no_token(channels: Channels, rpc: str, content: Any) -> None:
    """A token that another version of the service has sealed is the caller's to drop, never INTERNAL."""
    request = _request(rpc)
    answer = _answer(channels, rpc, request | {"pageToken": _token(rpc, content, request)})
    assert answer is None or (answer.code, answer.info.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize("rpc", LISTS)
def test_a_token_of_another_list_is_told_apart(channels: Channels, rpc: str) -> None:
    """A token of every other list, and of another owner of the same one, is a mismatch."""
    request = _request(rpc)
    others = [
        (other, _request(other))
        for other in LISTS
        if other != rpc and other.split("/")[0] == rpc.split("/", maxsplit=1)[0]
    ]
    if "userId" in request:
        others.append((rpc, request | {"userId": "another"}))
    for other, its_request in others:
        answer = _answer(channels, rpc, request | {"pageToken": _token(other, [1, "x"], its_request)})
        assert answer is None or answer.info.reason == "PAGE_TOKEN_FILTER_MISMATCH", other


@pytest.mark.parametrize("rpc", LISTS)
def test_a_token_has_one_spelling(channels: Channels, rpc: str) -> None:
    """Padding, the other alphabet, stray bits or spaces make no second text of one token."""
    request = _request(rpc)
    token = _token(rpc, [0 if rpc in BY_NAME else 1_000, "0" * 24], request)
    answer = _answer(channels, rpc, request | {"pageToken": token})
    assert answer is None or answer.code == "OK"
    for text in spellings.of_base64(token) if answer else ():
        refused = _answer(channels, rpc, request | {"pageToken": text})
        assert refused is not None
        assert (refused.code, refused.info.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), text


@pytest.mark.parametrize("rpc", LISTS)
@pytest.mark.parametrize("token", ["x", "AAAA", base64.urlsafe_b64encode(b"x" * 60).decode()])
def test_what_was_never_issued_is_no_token(channels: Channels, rpc: str, token: str) -> None:
    """A guess is refused by every list in the same words."""
    answer = _answer(channels, rpc, _request(rpc, pageToken=token))
    assert answer is None or answer.info.reason == "PAGE_TOKEN_INVALID"
