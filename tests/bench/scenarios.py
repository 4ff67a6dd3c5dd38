"""What is measured, in groups whose subjects are called one right after the other in every round."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import grpc
from vibework.notifications.v1 import ListNotificationsRequest, ListNotificationsResponse

from tests.bench import echo_server, requests
from tests.bench.calls import Caller, HashCaller, PoolCaller
from tests.bench.plan import user_id
from tests.bench.requests import PAGE_SIZE, Rpc
from tests.bench.stack import Launcher, Pair, Server, response_size
from tests.bench.targets import IN_FLIGHT, NATIVE, OF_GO
from tests.bench.unary import GrpcCaller
from tests.bench.usage import children

# Deeper than anybody scrolls.
LAST_PAGE = 1_000
# Of each generator: as of a few callers. A server does not accept the calls of one as it does those of many.
CONNECTIONS = 4
# Where every connection goes to one of the processes that share a port, so many that all have some.
WORKERS_CONNECTIONS = 16
WORKERS = 2


@dataclass(frozen=True)
class Subject:
    """Something to call: ``pids`` are the server processes whose time is counted."""

    key: str
    caller: Caller
    pids: Sequence[int] = ()
    in_flight: int = IN_FLIGHT
    # One could make all the calls; two, each with requests of its own, are less in step with each other.
    generators: int = 2


@dataclass(frozen=True)
class Group:
    """Subjects that are compared with each other."""

    key: str
    subjects: Sequence[Subject]
    # In parts of the time that most groups get for each subject.
    weight: float = 1.0


def groups(launcher: Launcher, big: Pair, small: Pair, native: Pair) -> list[Group]:
    """Start the servers to compare with, and return all groups; ``native``: on the other transport, over ``big``."""
    rpcs, fewer = requests.rpcs(big.dataset.plan), requests.rpcs(small.dataset.plan)
    drivers = requests.drivers(big.dataset)
    sign_in, met, unmet = (rpcs.pop(key) for key in ("sign_in", "create_met", "create_unmet"))
    sizes = [response_size(big.of(rpc).address, rpc) for rpc in rpcs.values()]
    echoes = _echoes("echo", launcher.echo(sizes), rpcs)
    throughs = _echoes("through", launcher.through(sizes, [drivers[key] for key in rpcs]), rpcs)
    native_echoes = _echoes("native_echo", launcher.native_echo(sizes), rpcs)
    orm, go = launcher.orm(big.dataset), launcher.go_read(big.dataset)
    found = []
    for key, rpc in rpcs.items():
        subjects = [echoes[key], _service(key, "service", rpc, big)]
        if key != "create":
            subjects.append(_service(key, "small", fewer[key], small))
        if key == "count":
            # A small dataset has few users with many rows, and calls that count the same share a query.
            subjects.append(_service(key, "few", fewer[key], big))
        if key in {name for name, _, _ in NATIVE}:
            subjects += [native_echoes[key], _service(key, "native", rpc, native)]
        if go is not None and key in {name for name, _, _ in OF_GO}:
            # The one read that there is in Go, beside each.
            subjects.append(_subject(f"{key}/go", go, rpcs["validate"].method, rpcs["validate"].requests))
        if key in {"validate", "get_user"}:
            subjects.append(_subject(f"{key}/orm", orm, rpc.method, rpc.requests))
        subjects.append(Subject(f"{key}/driver", drivers[key], generators=1))
        found.append(Group(key, subjects))
    found += [_sign_in(sign_in, big), _workers(launcher, rpcs["validate"], big), _deep(big)]
    alone = {group.key: group for group in found if group.key in rpcs}
    alone["create"] = _creates(alone["create"], met, unmet, big, native)
    return found + [_alone(group, throughs[key]) for key, group in alone.items()]


def _service(key: str, name: str, rpc: Rpc, pair: Pair) -> Subject:
    return _subject(f"{key}/{name}", pair.of(rpc), rpc.method, rpc.requests)


def _subject(key: str, server: Server, method: str, requests: Sequence[bytes]) -> Subject:
    return Subject(key, GrpcCaller(server.address, method, requests, CONNECTIONS), [server.pid])


def _echoes(name: str, server: Server, rpcs: Mapping[str, Rpc]) -> Mapping[str, Subject]:
    """Return the subject of an echo for each RPC, of the same sizes both ways."""
    subjects = {}
    for number, (key, rpc) in enumerate(rpcs.items()):
        request = echo_server.message(len(rpc.requests[0]), number).SerializeToString()
        subjects[key] = _subject(f"{key}/{name}", server, echo_server.METHOD, [request])
    return subjects


def _sign_in(rpc: Rpc, pair: Pair) -> Group:
    references = [
        Subject("sign_in/hash", HashCaller(), generators=1),
        Subject("sign_in/pool", PoolCaller(), generators=1),
    ]
    return Group("sign_in", [*references, _service("sign_in", "service", rpc, pair)], weight=1.5)


def _workers(launcher: Launcher, rpc: Rpc, pair: Pair) -> Group:
    one, two = pair.users, launcher.users_workers(WORKERS, pair.dataset)
    return Group(
        "workers",
        [
            _many_connections("workers/one", one.address, rpc, [one.pid]),
            _many_connections("workers/two", two.address, rpc, children(two.pid)),
        ],
    )


def _many_connections(key: str, address: str, rpc: Rpc, pids: Sequence[int]) -> Subject:
    return Subject(key, GrpcCaller(address, rpc.method, rpc.requests, WORKERS_CONNECTIONS), pids, 4 * IN_FLIGHT)


def _creates(group: Group, met: Rpc, unmet: Rpc, pair: Pair, native: Pair) -> Group:
    """Compare creates for recipients that the service knows to exist with those for which it has to ask first."""
    asked = {
        "create/service": [_service("create", "service", met, pair), _service("create", "unmet", unmet, pair)],
        "create/native": [_service("create", "native", met, native)],
    }
    return replace(group, subjects=[new for old in group.subjects for new in asked.get(old.key, [old])])


def _deep(pair: Pair) -> Group:
    """Compare the first and the thousandth page of the longest list."""
    server = pair.notifications
    method = f"{requests.FEED}/ListNotifications"
    first = ListNotificationsRequest(user_id=user_id(0), page_size=PAGE_SIZE)
    last = ListNotificationsRequest(user_id=user_id(0), page_size=PAGE_SIZE, page_token=_token_of_last(server.address))
    subjects = [
        _subject(f"deep/{name}", server, method, [request.SerializeToString()])
        for name, request in (("first", first), ("last", last))
    ]
    return Group("deep", subjects)


def _token_of_last(address: str) -> str:
    """Walk to the last page that is full, the thousandth at most, and return the token that leads there."""
    with grpc.insecure_channel(address) as channel:
        call: grpc.UnaryUnaryMultiCallable[ListNotificationsRequest, ListNotificationsResponse] = channel.unary_unary(
            f"{requests.FEED}/ListNotifications",
            ListNotificationsRequest.SerializeToString,
            ListNotificationsResponse.FromString,
        )
        token = ""
        for _ in range(LAST_PAGE - 1):
            page = call(ListNotificationsRequest(user_id=user_id(0), page_size=PAGE_SIZE, page_token=token), timeout=10)
            if not page.next_page_token:
                break
            token = page.next_page_token
        return token


def _alone(group: Group, through: Subject) -> Group:
    """Return the same with one call in flight, for the latency of a call that nothing disturbs.

    ``through``: the echo that asks the database. Its driver rests between calls as in a service, and takes half as long
    again for the next one.
    """
    beside = {"echo", "native_echo", "service", "native", "go", "unmet", "driver", "through"}
    return replace(of_crowd(replace(group, subjects=[*group.subjects, through]), 1, beside), weight=0.25)


def of_crowd(group: Group, in_flight: int, names: Collection[str] = ("echo", "service")) -> Group:
    """Return the subjects of a group that have these names, with so many calls in flight."""
    subjects = [
        replace(subject, key=subject.key.replace("/", f"@{in_flight}/"), in_flight=in_flight)
        for subject in group.subjects
        if subject.key.rsplit("/")[1] in names
    ]
    return Group(f"{group.key}@{in_flight}", subjects)


def over(group: Group, connections: int) -> Group:
    """Return the same with so many connections of each generator to each server."""
    subjects = [
        replace(subject, caller=replace(subject.caller, connections=connections))
        if isinstance(subject.caller, GrpcCaller)
        else subject
        for subject in group.subjects
    ]
    return replace(group, subjects=subjects)
