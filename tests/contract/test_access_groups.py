"""Groups of RPCs that policies name: all of the contract is in them and nothing else, and their names are true."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodOptions

from chassis.access.groups import CONTRACT, GROUPS, short

Files = dict[str, FileDescriptorProto]
ROOT = Path(__file__).parents[2]
# A session is validated by its token, which reads, but also says whether a token is right.
READS_BUT = {"SessionService/ValidateSession"}


def _levels(files: Files) -> dict[str, int]:
    return {
        f"{service.name}/{method.name}": method.options.idempotency_level
        for file in files.values()
        for service in file.service
        for method in service.method
    }


def test_every_rpc_is_in_a_group_and_groups_name_no_others(files: Files) -> None:
    """A new RPC cannot be forgotten: whoever writes a policy by groups would deny it to everyone."""
    assert CONTRACT - GROUPS["reflection"] == _levels(files).keys()


def test_who_may_read_changes_nothing_and_sees_no_secret(files: Files) -> None:
    """The group `read` is safe to give away."""
    levels = _levels(files)
    assert {rpc for rpc in GROUPS["read"] if levels[rpc] != MethodOptions.NO_SIDE_EFFECTS} == READS_BUT
    assert not GROUPS["read"] & GROUPS["secrets"]


def test_what_discloses_or_sets_secrets_is_in_their_group(files: Files) -> None:
    """Whoever may call one of these is as good as any user, so the policy must say so by name."""
    for rpc in ("AccountService/GetAccountTokens", "SessionService/CreateSession", "AccountService/SetPassword"):
        assert [name for name, rpcs in GROUPS.items() if rpc in rpcs] == ["secrets"]


@pytest.mark.parametrize(
    ("module", "called"),
    [
        ("users_service/notifications_client.py", {"DeleteUserNotifications", "SendDirect", "DeleteSuppression"}),
        (
            "users_service/exports/notifications.py",
            {
                "ListNotifications",
                "ListScheduledNotifications",
                "ListDeliveries",
                "ListSuppressions",
                "GetPreferences",
                "ListPushSubscriptions",
            },
        ),
        ("notifications_service/users_client.py", {"BatchGetUsers"}),
    ],
)
def test_the_pair_may_call_each_other_with_one_group(module: str, called: set[str]) -> None:
    """A call that a service learns to make to the other one must be granted to it, too."""
    tree = ast.parse((ROOT / module).read_text())
    names = {short(rpc).partition("/")[2] for rpc in CONTRACT}
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in names}
    assert found == called
    assert found <= {rpc.partition("/")[2] for rpc in GROUPS["pair"]}
