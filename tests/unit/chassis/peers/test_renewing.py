"""Calls to the other service while certificates and tokens are renewed under them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.context import calls
from chassis.peers import renewing, tokens
from chassis.peers.clients import open_peer_channel
from chassis.settings import ServerSettings
from script.local.certificates import Authority
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import TOKEN, Log, Serve


@pytest.fixture(autouse=True)
def _looking_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files be looked at each time, as if a second had passed between two calls."""
    monkeypatch.setattr(renewing, "LOOK_AGAIN_SECONDS", 0)
    monkeypatch.setattr(tokens, "LOOK_AGAIN_SECONDS", 0)


class Files:
    """The files of one side, written anew with another time each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def write(self, **contents: bytes) -> dict[str, Path]:
        """Write files and return where they are."""
        self._number += 1
        for name, content in contents.items():
            (self._folder / name).write_bytes(content)
            os.utime(self._folder / name, (self._number, self._number))
        return {name: self._folder / name for name in contents}


async def _validate(stub: Any) -> grpc.StatusCode:
    request = pb.ValidateSessionRequest(session_token=TOKEN)
    code: grpc.StatusCode = await stub.ValidateSession(request, timeout=PATIENCE_SECONDS).code()
    return code


async def test_the_client_shows_a_renewed_certificate(serve: Serve, tmp_path: Path, log: Log) -> None:
    """A stub of the start calls with the newest pair; half a renewal, and a broken one, leave the last good one."""
    seen: list[bytes] = []

    async def note(_: Any, context: Any) -> Any:
        seen.append(context.auth_context()["peer_dns"][0])
        return pb.ValidateSessionResponse()

    authority = Authority.new("test")
    server = authority.issue("server", ["127.0.0.1"])
    (tmp_path / "server").mkdir()
    (tmp_path / "client").mkdir()
    files, own = Files(tmp_path / "server"), Files(tmp_path / "client")
    there = files.write(ca=authority.certificate, cert=server.certificate, key=server.key)
    running = await serve(note, tls_cert_file=there["cert"], tls_key_file=there["key"], tls_client_ca_file=there["ca"])
    first, second = (authority.issue("client", [f"{name}.internal"]) for name in ("first", "second"))
    shown = own.write(ca=authority.certificate, cert=first.certificate, key=first.key)
    settings = ServerSettings(peer_tls_ca_file=shown["ca"], tls_cert_file=shown["cert"], tls_key_file=shown["key"])
    async with open_peer_channel(settings, running.server.address) as channel:
        stub = pb_grpc.SessionServiceStub(channel)
        assert await _validate(stub) is grpc.StatusCode.OK
        own.write(cert=second.certificate)
        assert await _validate(stub) is grpc.StatusCode.OK
        assert await _validate(stub) is grpc.StatusCode.OK
        own.write(key=second.key)
        assert await _validate(stub) is grpc.StatusCode.OK
        (tmp_path / "client" / "ca").unlink()
        assert await _validate(stub) is grpc.StatusCode.OK
    assert seen == [b"first.internal"] * 3 + [b"second.internal"] * 2
    told = [line for line in log.lines if line["event"] == "certificate not read again"]
    assert len(told) == 2


async def test_a_call_in_flight_ends_on_the_old_channel(serve: Serve, tmp_path: Path) -> None:
    """A renewal cuts nothing off."""
    inside, go = asyncio.Event(), asyncio.Event()

    async def wait(_: Any, __: Any) -> Any:
        inside.set()
        await go.wait()
        return pb.ValidateSessionResponse()

    authority, files = Authority.new("test"), Files(tmp_path)
    pair = authority.issue("server", ["127.0.0.1"])
    there = files.write(ca=authority.certificate, cert=pair.certificate, key=pair.key)
    running = await serve(wait, tls_cert_file=there["cert"], tls_key_file=there["key"])
    settings = ServerSettings(peer_tls_ca_file=there["ca"])
    async with open_peer_channel(settings, running.server.address) as channel:
        stub = pb_grpc.SessionServiceStub(channel)
        first = asyncio.create_task(_validate(stub))
        await asyncio.wait_for(inside.wait(), PATIENCE_SECONDS)
        files.write(ca=authority.certificate)
        second = asyncio.create_task(_validate(stub))
        await asyncio.sleep(0.05)
        go.set()
        assert await first is grpc.StatusCode.OK
        assert await second is grpc.StatusCode.OK


async def test_the_token_of_a_file_is_shown_with_every_call(serve: Serve, tmp_path: Path, log: Log) -> None:
    """A renewed one is shown from the next call on; one that is gone leaves the last, and never an empty one."""
    seen: list[str] = []

    async def note(_: Any, __: Any) -> Any:
        call = calls.current()
        assert call is not None
        seen.extend(value for key, value in call.metadata if key == "authorization")
        return pb.ValidateSessionResponse()

    running, files = await serve(note), Files(tmp_path)
    path = files.write(token=b"first\n")["token"]
    async with open_peer_channel(ServerSettings(peer_token_file=path), running.server.address) as channel:
        stub = pb_grpc.SessionServiceStub(channel)
        await _validate(stub)
        files.write(token=b"second")
        await _validate(stub)
        path.unlink()
        await _validate(stub)
        await _validate(stub)
    assert seen == ["Bearer first", "Bearer second", "Bearer second", "Bearer second"]
    assert len(await log.wait_for("token for the other service not read")) == 1
