"""Callers with certificates and a policy, over real handshakes: who gets how far, and what the others are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.users.v1 import session_service_pb2 as sessions_pb2

from chassis.access import assembly
from chassis.context import calls
from chassis.serving.registration import Composer
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.access.conftest import VALIDATE, WATCH, WEB, As, Asking, Certificates, PolicyFile
from tests.unit.chassis.conftest import Log, Running, Serve, failure_of

Made = Callable[[Running], Awaitable[Any]]
CALLS: dict[str, Made] = {VALIDATE: lambda running: running.validate(), WATCH: lambda running: running.watch().read()}
REFUSED = (grpc.StatusCode.PERMISSION_DENIED, "CALLER_FORBIDDEN")


@pytest.mark.parametrize(("granted", "denied"), [(VALIDATE, WATCH), (WATCH, VALIDATE)])
async def test_a_caller_gets_what_the_policy_grants(
    asking: Asking, as_caller: As, policy_file: PolicyFile, granted: str, denied: str
) -> None:
    """The one RPC that is granted answers, its handler knows who calls, and any other is refused by name."""
    seen: list[Any] = []

    async def unary(_: Any, __: Any) -> Any:
        seen.append(calls.current())
        return sessions_pb2.ValidateSessionResponse()

    async def stream(_: Any, __: Any) -> AsyncIterator[Any]:
        seen.append(calls.current())
        yield notifications_pb2.WatchNotificationsResponse(resume_token="first")

    policy_file.grant(WEB, granted)
    running = await asking(unary, stream)
    web = await as_caller(running, WEB)
    await CALLS[granted](web)
    assert [call.caller for call in seen] == [WEB]
    failure = await failure_of(CALLS[denied](web))
    assert (failure.code, failure.reason) == REFUSED
    assert failure.metadata == {"caller": WEB, "rpc": denied}
    assert len(seen) == 1


async def test_who_is_in_no_rule_may_call_nothing(
    serve: Serve, certificates: Certificates, as_caller: As, policy_file: PolicyFile
) -> None:
    """A certificate of the right authority opens nothing by itself once there is a policy."""
    running = await serve(**certificates.settings, access_policy_file=policy_file.grant(WEB, "*"))
    for names in (("spiffe://example.org/ns/web/sa/web2",), ("example.org",), ("web",)):
        failure = await failure_of((await as_caller(running, *names)).validate())
        assert (failure.code, failure.reason) == REFUSED
        assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


@pytest.mark.parametrize("names", [("10.0.0.1",), ("https://example.org/web",), (WEB, f"{WEB}2")])
async def test_a_certificate_without_a_name_that_counts_is_nobody(
    serve: Serve, certificates: Certificates, as_caller: As, policy_file: PolicyFile, names: tuple[str, ...]
) -> None:
    """An address, another URI and two SPIFFE ids at once name no caller, whatever the policy grants to all."""
    running = await serve(**certificates.settings, access_policy_file=policy_file.grant("*", "*"))
    failure = await failure_of((await as_caller(running, *names)).validate())
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
    assert failure.metadata == {"problem": "certificate_name"}


async def test_refused_calls_are_not_decoded(
    serve: Serve, certificates: Certificates, as_caller: As, policy_file: PolicyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that could not even be read is answered by the policy, so nothing has looked at it."""
    decoded: list[bytes] = []
    prepare = Composer.prepare

    def noting(self: Composer, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        prepared = prepare(self, decode)

        def noted(content: bytes) -> Any:
            decoded.append(content)
            return prepared(content)

        return noted

    monkeypatch.setattr(Composer, "prepare", noting)
    running = await serve(**certificates.settings, access_policy_file=policy_file.grant(WEB, WATCH))
    web = await as_caller(running, WEB)
    assert (await failure_of(web.raw(f"/{VALIDATE}", b"\xff"))).reason == "CALLER_FORBIDDEN"
    assert decoded == []
    policy_file.grant(WEB, VALIDATE)
    running.server.access.policy.look()  # type: ignore[union-attr]
    assert (await failure_of(web.raw(f"/{VALIDATE}", b"\xff"))).reason == "INVALID_FIELDS"
    assert decoded == [b"\xff"]


async def test_unknown_methods_come_after_the_policy(
    serve: Serve, certificates: Certificates, as_caller: As, policy_file: PolicyFile, log: Log
) -> None:
    """Whether a method exists is told to those alone who might call it if it did; its name is in no log."""
    running = await serve(**certificates.settings, access_policy_file=policy_file.grant(WEB, "SessionService/*"))
    web, other = await as_caller(running, WEB), await as_caller(running, "spiffe://example.org/other")
    missing = "/vibework.users.v1.SessionService/Secret42"
    assert (await failure_of(web.raw(missing, b""))).reason == "METHOD_UNKNOWN"
    for caller, method in ((other, missing), (web, "/vibework.users.v1.UserService/Secret42"), (web, "/x/y" * 500)):
        failure = await failure_of(caller.raw(method, b""))
        assert (failure.code, failure.reason) == REFUSED
        assert "rpc" not in failure.metadata
    assert (await failure_of((await as_caller(running, "10.0.0.1")).raw(missing, b""))).reason == "CALLER_UNKNOWN"
    assert "Secret42" not in log.text


async def test_a_rate_is_counted_for_each_caller(
    serve: Serve, certificates: Certificates, as_caller: As, policy_file: PolicyFile
) -> None:
    """A caller that used up its calls is told when to come back; others and denied calls cost it nothing."""
    policy = policy_file.grant("spiffe://example.org/*", VALIDATE, more="calls_per_second = 0.001\nburst = 2")
    running = await serve(**certificates.settings, access_policy_file=policy)
    web, other = await as_caller(running, WEB), await as_caller(running, f"{WEB}2")
    assert (await failure_of(web.watch().read())).reason == "CALLER_FORBIDDEN"
    await web.validate()
    await web.validate()
    failure = await failure_of(web.validate())
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLER_RATE_LIMITED")
    assert failure.metadata == {"limited_by": "calls", "per_second": "0.001"}
    assert failure.retry_after is not None
    assert 900 < failure.retry_after <= 1000
    await other.validate()


async def test_health_is_open_and_reflection_is_not(
    serve: Serve, certificates: Certificates, as_caller: As, policy_file: PolicyFile
) -> None:
    """Balancers ask for health without being in a policy; the contract is for those to whom it grants reflection."""
    running = await serve(**certificates.settings, access_policy_file=policy_file.grant(WEB, "reflection"))
    web, other = await as_caller(running, WEB), await as_caller(running, "10.0.0.1")
    health: Any = health_pb2_grpc.HealthStub(other.channel)
    checked = await health.Check(health_pb2.HealthCheckRequest())
    assert checked.status == health_pb2.HealthCheckResponse.SERVING

    def reflect(caller: Running, *requests: reflection_pb2.ServerReflectionRequest) -> Any:
        channel: Any = caller.channel
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        # Who is refused writes nothing: grpc.aio calls it INTERNAL where a server has refused meanwhile.
        return stub.ServerReflectionInfo(iter(requests) if requests else None).read()

    listed = await reflect(web, reflection_pb2.ServerReflectionRequest(list_services=""))
    assert listed.list_services_response.service
    assert (await failure_of(reflect(other))).reason == "CALLER_UNKNOWN"
    policy_file.grant(WEB, VALIDATE)
    running.server.access.policy.look()  # type: ignore[union-attr]
    assert (await failure_of(reflect(web))).reason == "CALLER_FORBIDDEN"


async def test_a_changed_policy_is_in_force_without_a_restart(
    log: Log, asking: Asking, as_caller: As, policy_file: PolicyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server looks by itself; what cannot be used leaves the last one in force, and is told once."""
    monkeypatch.setattr(assembly, "POLICY_LOOK_SECONDS", 0.01)
    policy_file.grant(WEB, WATCH)
    running = await asking()
    web, policy = await as_caller(running, WEB), running.server.access.policy
    assert policy is not None
    assert (await failure_of(web.validate())).reason == "CALLER_FORBIDDEN"
    policy_file.grant(WEB, VALIDATE)
    await log.wait_for("access policy read")
    await web.validate()
    policy_file.write("[[rules]]\ncallers = ['a']\nrpcs = ['SessionService/Validate']\n")
    (line,) = await log.wait_for("access policy not read; the last one stays in force")
    assert line["why"] == "rule 1: there is no RPC SessionService/Validate"
    assert policy.stale
    policy_file.path.unlink()
    await asyncio.sleep(0.1)
    await web.validate()
    policy_file.grant(WEB, WATCH)
    await _until(lambda: not policy.stale)
    assert (await failure_of(web.validate())).reason == "CALLER_FORBIDDEN"
    lines = [line for line in log.lines if line["event"].startswith("access policy not read")]
    assert [each["why"] for each in lines] == [line["why"], "the file cannot be read"]


async def test_without_a_policy_nobody_is_asked(serve: Serve, certificates: Certificates, as_caller: As) -> None:
    """Whoever the authority vouches for may call, name or no name, as before there were policies."""
    running = await serve(**certificates.settings)
    assert running.server.access.identify is None
    await (await as_caller(running, "10.0.0.1")).validate()


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
