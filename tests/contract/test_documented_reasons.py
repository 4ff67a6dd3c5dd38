"""The reasons in the comments of RPCs are those that calls can end with, as ``tests.contract.raising`` derives them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from vibework.errors.v1 import ErrorReason

import notifications_service.app
import users_service.app
from chassis.serving.lifecycle import Scope
from chassis.serving.server import Server
from notifications_service.settings import Settings as NotificationsSettings
from tests.contract.raising.errors import Raised, raised_by
from tests.contract.rendering import answers, comments_of
from tests.contract.requests import REQUESTS
from tests.harness.issuer import AUDIENCE, ISSUER, Issuer, key_set
from tests.harness.promised import promises as watched
from tests.harness.sources import reads_sources
from tests.harness.users import SECRET_KEYS
from users_service.settings import Settings as UsersSettings

pytestmark = reads_sources
# What comments promise of RPCs that are built, and the code cannot do yet. Whoever builds it takes its line away.
AHEAD: Final[dict[str, set[str]]] = {}
BUILT: Final = {rpc for rpc, (_, reason) in REQUESTS.items() if reason != "NOT_IMPLEMENTED"}
BUILT_SERVICES: Final = {rpc.partition("/")[0] for rpc in BUILT}
# The reasons of UNIMPLEMENTED: what a method that is there answers to some requests, or to none.
OF_METHODS: Final = {"NOT_IMPLEMENTED", "METHOD_UNKNOWN"}
# What every RPC may answer that asks its database; the comment of a service names the one that does not.
OF_DATABASES: Final = {"DATABASE_UNAVAILABLE", "CONFLICT_RETRY"}
EVERY_REASON: Final = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - not a mapping
# Nobody answers there, and nobody is asked: the servers are put together and never started.
NOWHERE: Final = "127.0.0.1:1"
Reasons = frozenset[str]


@dataclass(frozen=True)
class Promise:
    """What comments promise of one RPC: its own reasons, and those of any call to its service."""

    own: Reasons
    common: Reasons

    def differences(self, raised: Reasons) -> set[str]:
        """Return what the comments lack, and what they have too much."""
        return {f"not documented: {reason}" for reason in raised - self.own - self.common} | {
            f"cannot happen: {reason}" for reason in self.own - raised
        }


Raisable = dict[str, Reasons]
Promises = dict[str, Promise]


@pytest.fixture(scope="module")
def promises(files: dict[str, FileDescriptorProto]) -> Promises:
    """The promises of every RPC, but for what is ahead of the code."""
    return {
        rpc: replace(promise, own=promise.own - AHEAD.get(rpc, set())) for rpc, promise in _documented(files).items()
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Raised]:
    """What the code of each server can answer, by package; each RPC by its name, and a method that nobody knows."""
    return asyncio.run(_derived(tmp_path_factory.mktemp("access")))


@pytest.fixture(scope="module")
def raised(found: dict[str, Raised]) -> Raisable:
    """The reasons that each RPC can end with."""
    return {
        name: frozenset(error.reason for error in errors)
        for part in found.values()
        for name, errors in part.errors.items()
    }


def test_comments_have_the_reasons_that_can_happen_and_no_others(promises: Promises, raised: Raisable) -> None:
    """Whoever handles what an RPC's comment lists has handled all, and writes nothing that never runs."""
    wrong = {rpc: promises[rpc].differences(raised[rpc]) for rpc in BUILT}
    assert {rpc: what for rpc, what in sorted(wrong.items()) if what} == {}


def test_what_any_call_may_answer_is_what_every_call_may(promises: Promises, raised: Raisable) -> None:
    """The comment of a service claims nothing that only some of its RPCs can do, but for methods that are not built."""
    wrong = {service: _wrong_in_common(service, promises, raised) for service in _services(promises)}
    assert {service: what for service, what in wrong.items() if what} == {}


def test_an_rpc_that_is_not_built_is_refused_in_time(promises: Promises, raised: Raisable) -> None:
    """Its comment is ahead of the code as a whole; what it answers today is what any call may."""
    for rpc in promises.keys() - BUILT:
        assert raised[rpc] <= promises[rpc].common, rpc


def test_what_is_ahead_of_the_code_is_still_ahead(files: dict[str, FileDescriptorProto], raised: Raisable) -> None:
    """The list shrinks as the code is built: an entry that can happen, or is no longer promised, is taken off."""
    documented = _documented(files)
    assert AHEAD.keys() <= BUILT
    for rpc, reasons in AHEAD.items():
        assert reasons <= documented[rpc].own, rpc
        assert not reasons & raised[rpc], rpc


def test_every_reason_that_is_taken_from_a_comment_is_noticed(promises: Promises, raised: Raisable) -> None:
    """Nothing can be forgotten: the test above fails without any one of the reasons."""
    for rpc in BUILT:
        own, common = promises[rpc].own, promises[rpc].common
        for reason in own - common:
            assert Promise(own - {reason}, common).differences(raised[rpc]), (rpc, reason)
    for service in BUILT_SERVICES:
        for reason in _common(service, promises):
            without = _with_common(service, promises, _common(service, promises) - {reason})
            assert _wrong(service, without, raised), (service, reason)


def test_every_reason_that_is_added_to_a_comment_is_noticed(promises: Promises, raised: Raisable) -> None:
    """Nothing can be made up: the tests above fail with any one more."""
    for rpc in BUILT:
        own, common = promises[rpc].own, promises[rpc].common
        for reason in EVERY_REASON - own - common:
            assert Promise(own | {reason}, common).differences(raised[rpc]), (rpc, reason)
    for service in BUILT_SERVICES:
        # What all RPCs can end with might stand there, too.
        of_all = EVERY_REASON.intersection(*(raised[rpc] for rpc in _rpcs(service, promises) if rpc in BUILT))
        for reason in EVERY_REASON - _common(service, promises) - of_all:
            more = _with_common(service, promises, _common(service, promises) | {reason})
            assert _wrong(service, more, raised), (service, reason)


def test_other_tests_watch_for_the_same_promises(files: dict[str, FileDescriptorProto]) -> None:
    """What all tests fail for, if a server answers it, is what comments do not promise."""
    assert watched() == {f"/{rpc}": promise.own | promise.common for rpc, promise in _documented(files).items()}


def test_every_method_could_be_followed(found: dict[str, Raised]) -> None:
    """No call is overlooked because nothing tells the type of what it is made on; an annotation mends it."""
    assert [sorted(part.missed) for part in found.values()] == [[], []]


def _documented(files: dict[str, FileDescriptorProto]) -> Promises:
    return {
        f"{file.package}.{service.name}/{method.name}": Promise(
            _reasons(comments.get((6, place, 2, number), "")), _reasons(comments.get((6, place), ""))
        )
        for file in files.values()
        for comments in [comments_of(file)]
        for place, service in enumerate(file.service)
        for number, method in enumerate(service.method)
    }


def _reasons(comment: str) -> Reasons:
    return frozenset(reason for reasons in answers(comment).values() for reason in reasons)


def _services(promises: Promises) -> set[str]:
    return {rpc.partition("/")[0] for rpc in promises}


def _rpcs(service: str, promises: Promises) -> list[str]:
    return [rpc for rpc in promises if rpc.startswith(f"{service}/")]


def _common(service: str, promises: Promises) -> Reasons:
    return promises[_rpcs(service, promises)[0]].common


def _with_common(service: str, promises: Promises, common: Reasons) -> Promises:
    return promises | {rpc: replace(promises[rpc], common=common) for rpc in _rpcs(service, promises)}


def _wrong_in_common(service: str, promises: Promises, raised: Raisable) -> set[str]:
    """Return the reasons that only some RPCs of a service can end with, and those of no method that are left out."""
    common, unknown = _common(service, promises), raised[_unknown(service)]
    each = [raised[rpc] for rpc in _rpcs(service, promises)]
    built = [raised[rpc] for rpc in _rpcs(service, promises) if rpc in BUILT]
    asking = [reasons for reasons in built if reasons & OF_DATABASES]
    possible = (EVERY_REASON - OF_METHODS - OF_DATABASES).intersection(*built)
    possible |= OF_METHODS & unknown.union(*each) | OF_DATABASES.intersection(*asking)
    return set(common - possible) | set(unknown - common)


def _wrong(service: str, promises: Promises, raised: Raisable) -> set[str]:
    """Return all that the tests above find in the comments of a service."""
    wrong = _wrong_in_common(service, promises, raised)
    for rpc in _rpcs(service, promises):
        wrong |= promises[rpc].differences(raised[rpc]) if rpc in BUILT else raised[rpc] - promises[rpc].common
    return wrong


def _unknown(name: str) -> str:
    return f"{'.'.join(name.split('.')[:3])}.FutureService/DoIt"


async def _derived(folder: Path) -> dict[str, Raised]:
    access = _access_settings(folder)
    async with AsyncExitStack() as resources:
        scope = Scope(resources, asyncio.Event())
        servers = {
            "vibework.users.v1": await users_service.app.build(_users_settings(access), scope),
            "vibework.notifications.v1": await notifications_service.app.build(_notifications_settings(access), scope),
        }
        return {package: _of_server(package, server) for package, server in servers.items()}


def _access_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of servers that ask callers for tokens, under a policy."""
    policy, keys = folder / "policy.toml", folder / "jwks.json"
    policy.write_text('[[rules]]\ncallers = ["*"]\nrpcs = ["*"]\n')
    keys.write_bytes(key_set(Issuer()))
    return {"access_policy_file": policy, "jwks_file": keys, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}


def _users_settings(access: dict[str, Any]) -> UsersSettings:
    host, _, port = NOWHERE.partition(":")
    values: dict[str, Any] = {
        **access,
        **{f"mysql_{name}": "none" for name in ("user", "password", "database")},
        "mysql_host": host,
        "mysql_port": port,
        # Lists go another way where there are replicas.
        "mysql_replica_hosts": NOWHERE,
        "secret_keys": SECRET_KEYS,
    }
    return UsersSettings(**values)


def _notifications_settings(access: dict[str, Any]) -> NotificationsSettings:
    values: dict[str, Any] = {
        **access,
        "mongodb_url": f"mongodb://{NOWHERE}/none",
        # It looks for its database once, when it is put together.
        "mongodb_query_timeout_ms": 100,
        # Lists and counts go another way where secondaries answer.
        "mongodb_read_preference_list": "nearest",
        "mongodb_read_preference_count": "nearest",
        "secret_keys": SECRET_KEYS,
    }
    return NotificationsSettings(**values)


def _of_server(package: str, server: Server) -> Raised:
    routes = server._transport.routes
    names = [rpc for rpc in REQUESTS if rpc.startswith(f"{package}.")]
    # A call also ends as whoever counts the calls in flight says: at the cap, and when the server stops.
    endings = [method for _, method in inspect.getmembers(server.in_flight, inspect.ismethod)]
    calls: dict[str, list[Any]] = {name: [*_handler(routes, name), *endings] for name in [*names, _unknown(package)]}
    return raised_by(calls, [server, routes])


def _handler(routes: Any, name: str) -> Iterator[Any]:
    """Yield what the transport calls for a method."""
    served = next(found for each in routes if (found := each.find(f"/{name}", ())) is not None)
    yield from (served.handle, served.encode)
