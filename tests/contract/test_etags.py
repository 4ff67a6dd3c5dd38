"""Etags of every RPC that takes one: one form, compared as text, on resources of both services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import Default

from tests.contract.requests import CONTENT, PROVIDER, REQUESTS
from tests.contract.servers import Answer, Channels, call
from tests.contract.test_descriptors import PROMISED
from tests.harness import spellings

USERS, FEED = "vibework.users.v1", "vibework.notifications.v1.NotificationService"
PREFERENCES = "vibework.notifications.v1.PreferenceService"
# What a request that names a resource consists of, beside its etag, and the resource's etag.
Made = tuple[dict[str, Any], str]


def answer_to(channels: Channels, rpc: str, request: dict[str, Any]) -> Answer:
    """Call an RPC."""
    service, _, name = rpc.partition("/")
    return call(channels[service.rpartition(".")[0]], service, name, request)


def made(channels: Channels, rpc: str, request: dict[str, Any]) -> Any:
    """Call an RPC that creates something; return the answer."""
    service, _, name = rpc.partition("/")
    output = Default().FindServiceByName(service).methods_by_name[name].output_type
    answer = answer_to(channels, rpc, request)
    assert answer.code == "OK", answer
    return json_format.MessageToDict(message_factory.GetMessageClass(output).FromString(answer.response))


def new_user(channels: Channels) -> Made:
    """Create a user."""
    user = made(channels, f"{USERS}.UserService/CreateUser", {"email": f"{uuid4().hex}@example.com"})["user"]
    return {"id": user["id"]}, user["etag"]


def with_etag(rpc: str, resource: dict[str, Any], change: dict[str, Any], etag: str) -> dict[str, Any]:
    """Make a request: an update has the etag in the resource that it takes, another call beside the id."""
    if rpc not in IN_RESOURCE:
        return {**resource, **change, "etag": etag}
    request: dict[str, Any] = {IN_RESOURCE[rpc]: {**resource, **change, "etag": etag}}
    return request if rpc in WITHOUT_MASK else request | {"updateMask": ",".join(change)}


def new_account(channels: Channels) -> Made:
    """Link an account."""
    owner, provider = new_user(channels)[0]["id"], PROVIDER | {"accountId": uuid4().hex}
    request = {"userId": owner, "account": provider}
    account = made(channels, f"{USERS}.AccountService/LinkAccount", request)["account"]
    return {"userId": owner, "id": account["id"], "tokens": {"accessToken": "new"}}, account["etag"]


def new_notification(channels: Channels) -> Made:
    """Create a notification."""
    found = made(channels, f"{FEED}/CreateNotification", {"userId": "user_of_etags", "content": CONTENT})[
        "notification"
    ]
    return {"id": found["id"]}, found["etag"]


def new_preferences(channels: Channels) -> Made:
    """Set preferences of a user of their own."""
    request = {"userId": f"user_{uuid4().hex}", "channel": "NOTIFICATION_TYPE_EMAIL", "mode": "PREFERENCE_MODE_OFF"}
    found = made(channels, f"{PREFERENCES}/SetPreference", request)["preferences"]
    return {"userId": found["userId"]}, found["etag"]


def new_category(channels: Channels) -> Made:
    """Register a category, which a put names whole, and a deletion by its name alone."""
    found = made(channels, f"{PREFERENCES}/PutCategory", {"category": {"name": uuid4().hex, "title": "News"}})
    return {"name": found["category"]["name"]}, found["category"]["etag"]


# Whoever builds an RPC with an etag says here what it changes.
MAKERS: dict[str, tuple[Callable[[Channels], Made], dict[str, Any]]] = {
    f"{USERS}.UserService/UpdateUser": (new_user, {"name": "New"}),
    f"{USERS}.UserService/DeleteUser": (new_user, {}),
    f"{USERS}.UserService/DisableUser": (new_user, {"reason": "spam"}),
    f"{USERS}.UserService/EnableUser": (new_user, {}),
    f"{USERS}.AccountService/UpdateAccountTokens": (new_account, {}),
    f"{FEED}/UpdateNotification": (new_notification, {"title": "New"}),
    f"{FEED}/DeleteNotification": (new_notification, {}),
    f"{PREFERENCES}/UpdatePreferences": (new_preferences, {"locale": "pt-BR"}),
    f"{PREFERENCES}/PutCategory": (new_category, {"title": "New"}),
    f"{PREFERENCES}/DeleteCategory": (new_category, {}),
}
# The field of an update that holds the resource.
IN_RESOURCE = {
    f"{USERS}.UserService/UpdateUser": "user",
    f"{FEED}/UpdateNotification": "notification",
    f"{PREFERENCES}/UpdatePreferences": "preferences",
    f"{PREFERENCES}/PutCategory": "category",
}
WITHOUT_MASK = {f"{PREFERENCES}/PutCategory"}
NOT_BUILT = {rpc for rpc, (_, reason) in REQUESTS.items() if reason == "NOT_IMPLEMENTED"}


def test_every_rpc_with_an_etag_is_tried() -> None:
    """The test below leaves out nothing that is built."""
    found = {
        f"{service}/{name}"
        for service, names in PROMISED.items()
        for name in names.split()
        if _takes_etag(Default().FindServiceByName(service).methods_by_name[name].input_type)
    }
    assert found - NOT_BUILT == set(MAKERS)


def _takes_etag(request: Any) -> bool:
    of_resources = (field.message_type.fields_by_name for field in request.fields if field.message_type is not None)
    return any("etag" in fields for fields in (request.fields_by_name, *of_resources))


@pytest.mark.parametrize("rpc", MAKERS)
def test_an_etag_has_one_form_and_one_spelling(channels: Channels, rpc: str) -> None:
    """It is text in quotation marks; signs, spaces, zeros, capitals and numbers too large match no state, nor fail."""
    make, change = MAKERS[rpc]
    resource, etag = make(channels)
    assert etag[0] == etag[-1] == '"'
    for text in spellings.of_etag(etag):
        answer = answer_to(channels, rpc, with_etag(rpc, resource, change, text))
        assert (answer.code, answer.info.reason) == ("ABORTED", "ETAG_MISMATCH"), text
        assert answer.info.metadata["current_etag"] == etag, text
    assert answer_to(channels, rpc, with_etag(rpc, resource, change, etag)).code == "OK"
