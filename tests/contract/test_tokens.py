"""Tokens that are no page tokens have one spelling, too: of sessions, of verifications, and of watches."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf import json_format
from vibework.notifications.v1 import notification_service_pb2 as feed
from vibework.users.v1 import user_service_pb2 as users

from tests.contract.servers import Channels
from tests.contract.test_etags import FEED, USERS, answer_to, made, new_user
from tests.harness import spellings

WATCH = f"{FEED}/WatchNotifications"
WATCH_USERS = f"{USERS}.UserService/WatchUsers"
PURPOSE = {"purpose": "VERIFICATION_PURPOSE_SIGN_IN"}


def resume_token(channels: Channels) -> tuple[str, dict[str, Any], str, str]:
    """Watch, and return the RPC, the request, the field and the token of the first event."""
    answer = answer_to(channels, WATCH, {"userId": "user_of_tokens"})
    event = json_format.MessageToDict(feed.WatchNotificationsResponse.FromString(answer.response))
    return WATCH, {"userId": "user_of_tokens"}, "resumeToken", event["resumeToken"]


def resume_token_of_users(channels: Channels) -> tuple[str, dict[str, Any], str, str]:
    """Watch users, and return the same of the first event."""
    answer = answer_to(channels, WATCH_USERS, {})
    event = json_format.MessageToDict(users.WatchUsersResponse.FromString(answer.response))
    return WATCH_USERS, {}, "resumeToken", event["resumeToken"]


def session_token(channels: Channels) -> tuple[str, dict[str, Any], str, str]:
    """Create a session; its token is the request's only field."""
    session = made(channels, f"{USERS}.SessionService/CreateSession", {"userId": new_user(channels)[0]["id"]})
    return f"{USERS}.SessionService/ValidateSession", {}, "sessionToken", session["sessionToken"]


def verification_token(channels: Channels) -> tuple[str, dict[str, Any], str, str]:
    """Create a verification that is proved by a token."""
    identifier = {"identifier": f"{uuid4().hex}@example.com", "kind": "VERIFICATION_KIND_TOKEN"}
    created = made(channels, f"{USERS}.VerificationService/CreateVerification", PURPOSE | identifier)
    return f"{USERS}.VerificationService/ConsumeVerification", PURPOSE, "secret", created["secret"]


@pytest.mark.parametrize(
    ("issue", "refusal"),
    [
        (resume_token, "RESUME_TOKEN_INVALID"),
        (resume_token_of_users, "RESUME_TOKEN_INVALID"),
        (session_token, "SESSION_INVALID"),
        (verification_token, "VERIFICATION_INVALID"),
    ],
)
def test_a_token_has_one_spelling(channels: Channels, issue: Any, refusal: str) -> None:
    """Padding, the other alphabet, stray bits or spaces make another token, which is none."""
    rpc, request, field, token = issue(channels)
    answer = answer_to(channels, rpc, request | {field: {"token": token} if field == "secret" else token})
    assert answer.code == "OK"
    for number in range(len(spellings.of_base64(token))):
        # A new one each time, since wrong attempts end a verification.
        _, request, field, token = issue(channels)
        for text in spellings.of_base64(token)[number : number + 1]:
            answer = answer_to(channels, rpc, request | {field: {"token": text} if field == "secret" else text})
            assert answer.info.reason == refusal, text
