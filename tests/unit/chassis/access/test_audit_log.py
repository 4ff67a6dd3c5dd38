"""The audit log of a running server: what its lines say of calls that end well, badly, and at the gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vibework.users.v1 import (
    RevokeAllSessionsRequest,
    RevokeAllSessionsResponse,
    SessionServiceServicer,
    SessionServiceStub,
    SignInResponse,
)
from vibework.users.v1.session_service_pb2 import SignInRequest
from vibework.users.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server

from chassis.serving.server import build_server
from chassis.settings import ServerSettings, WrongSetting
from tests.unit.chassis.access.conftest import WEB, As, Certificates, PolicyFile
from tests.unit.chassis.conftest import Log, Running, Serve, failure_of

USER = "user_01jd8k2v5rf2xbq0m3c9w7n4ht"
PASSWORD = "correct horse battery staple"


class Sessions(SessionServiceServicer):
    """Signs everybody in, and fails to revoke."""

    async def SignIn(self, _: Any, __: Any) -> Any:
        """Answer with a user, whom the request did not name."""
        response = SignInResponse(session_token="t0k3n")
        response.user.id, response.user.name = USER, "Ada Lovelace"
        return response

    async def RevokeAllSessions(self, request: Any, _: Any) -> Any:
        """Fail for one user."""
        if request.user_id == USER:
            raise KeyError(request.user_id)
        return RevokeAllSessionsResponse()


async def started(certificates: Certificates, **settings: Any) -> Running:
    """Start a server of these sessions."""

    async def probe() -> None:
        return

    values = {"grpc_drain_ms": 0, **certificates.settings, **settings}
    servicer: Any = Sessions()  # type: ignore[abstract]
    services = [(add_SessionServiceServicer_to_server, servicer)]
    server = build_server(ServerSettings(**values), services, probe=probe)
    await server.start()
    return Running(server, None)  # type: ignore[arg-type]


def written(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, without what differs each time."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        assert line.pop("timestamp").endswith("Z")
        assert line.pop("peer").startswith("ipv4:127.0.0.1:")
        assert line.pop("request_id")
        assert (line.pop("level"), line.pop("event")) == ("info", "audit")
    return lines


async def test_every_outcome_has_its_line(
    certificates: Certificates, as_caller: As, policy_file: PolicyFile, tmp_path: Path
) -> None:
    """What was done, what failed, and what the policy refused; whom it was about, where that was known."""
    file = tmp_path / "audit.log"
    policy = policy_file.grant(WEB, "SessionService/*")
    running = await started(certificates, audit_log="file", audit_log_file=file, access_policy_file=policy)
    web: Any = SessionServiceStub((await as_caller(running, WEB)).channel)
    other: Any = SessionServiceStub((await as_caller(running, "other.internal")).channel)
    await web.SignIn(SignInRequest(email="ada@example.com", password=PASSWORD))
    await web.RevokeAllSessions(RevokeAllSessionsRequest(user_id="user_x"))
    await failure_of(web.RevokeAllSessions(RevokeAllSessionsRequest(user_id=USER)))
    await failure_of(other.RevokeAllSessions(RevokeAllSessionsRequest(user_id=USER)))
    await running.server.stop(0.2)
    service = "vibework.users.v1.SessionService"
    revoking = {"rpc": f"{service}/RevokeAllSessions"}
    assert written(file) == [
        {"caller": WEB, "rpc": f"{service}/SignIn", "subjects": [USER], "code": "OK", "reason": ""},
        {"caller": WEB, **revoking, "subjects": ["user_x"], "code": "OK", "reason": ""},
        {"caller": WEB, **revoking, "subjects": [USER], "code": "INTERNAL", "reason": "INTERNAL"},
        {
            "caller": "dns:other.internal",
            **revoking,
            "subjects": [],
            "code": "PERMISSION_DENIED",
            "reason": "CALLER_FORBIDDEN",
        },
    ]
    assert not any(value in file.read_text() for value in ("ada@", PASSWORD, "t0k3n", "Lovelace"))


async def test_without_a_policy_certificates_name_callers(
    certificates: Certificates, as_caller: As, tmp_path: Path
) -> None:
    """Whoever shows one is written down by it, and who has no name in it as nobody."""
    file = tmp_path / "audit.log"
    running = await started(certificates, audit_log="file", audit_log_file=file)
    for name in (WEB, "10.0.0.1"):
        stub: Any = SessionServiceStub((await as_caller(running, name)).channel)
        await stub.RevokeAllSessions(RevokeAllSessionsRequest(user_id="user x\n"))
    await running.server.stop(0.2)
    assert [(line["caller"], line["subjects"]) for line in written(file)] == [(WEB, ["?"]), ("", ["?"])]


async def test_lines_go_beside_the_log_whatever_its_level(log: Log, certificates: Certificates, as_caller: As) -> None:
    """On stdout they are lines of their own, told by their event."""
    running = await started(certificates, audit_log="stdout", log_level="error")
    stub: Any = SessionServiceStub((await as_caller(running, WEB)).channel)
    await stub.RevokeAllSessions(RevokeAllSessionsRequest(user_id="user_x"))
    (line,) = await log.wait_for("audit")
    assert (line["caller"], line["subjects"]) == (WEB, ["user_x"])
    await running.server.stop(0.2)


async def test_nothing_is_written_unless_it_is_wanted(serve: Serve, log: Log) -> None:
    """Off is the default, and then calls are not even looked at."""
    running = await serve()
    stub: Any = SessionServiceStub(running.channel)
    assert (await failure_of(stub.SignIn(SignInRequest()))).reason
    await log.wait_for("rpc")
    assert [line for line in log.lines if line["event"] == "audit"] == []


async def test_a_file_that_cannot_be_written_stops_the_start(certificates: Certificates, tmp_path: Path) -> None:
    """An audit that is wanted and not kept would be noticed when it is needed."""
    with pytest.raises(WrongSetting, match=r"^AUDIT_LOG_FILE: the file cannot be written: No such file or directory$"):
        await started(certificates, audit_log="file", audit_log_file=tmp_path / "no" / "audit.log")


@pytest.mark.parametrize("settings", [{"audit_log": "file"}, {"audit_log_file": "a"}])
def test_half_a_setting_is_refused(settings: dict[str, Any]) -> None:
    """A file without being wanted, and the wish without a file."""
    with pytest.raises(ValueError, match="AUDIT_LOG=file and AUDIT_LOG_FILE go together"):
        ServerSettings(**settings)
