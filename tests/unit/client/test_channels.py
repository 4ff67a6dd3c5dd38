"""Connections, tokens and certificates of a client."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
from vibework.client import TLS, Users, service_config
from vibework.client._channels import LOOK_SECONDS, Bearer, Connections, Stamp, targets
from vibework.client._failure import MisusedClient
from vibework.client._settings import Settings

from script.local.certificates import Authority


class Channel:
    """A channel that only counts."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False

    def close(self) -> None:
        """Close it."""
        self.closed = True


def connections(each: int = 1, *addresses: str) -> Connections[Channel]:
    """Make connections to addresses."""
    return Connections(addresses or ("a:1", "b:2"), each, None, lambda address, _: Channel(address))


def test_calls_take_addresses_in_turn() -> None:
    """Two calls beside each other are on two servers, and each has as many connections as it was asked for."""
    pool = connections(2)
    taken = [pool.take()[0] for _ in range(4)]
    assert [each.channel.address for each in taken] == ["a:1", "b:2", "a:1", "b:2"]
    assert len({id(each.channel) for each in taken}) == 4
    assert pool.take()[0] is taken[0]


@pytest.mark.parametrize(
    ("addresses", "tls", "expected"),
    [
        (("127.0.0.1:1", "10.0.0.2:2"), None, ("ipv4:127.0.0.1:1,10.0.0.2:2",)),
        (("[::1]:1", "[2001:db8::1]:2"), None, ("ipv6:[::1]:1,[2001:db8::1]:2",)),
        (("127.0.0.1:1", "10.0.0.2:2"), TLS(server_name="users"), ("ipv4:127.0.0.1:1,10.0.0.2:2",)),
        # Each certificate is for its own address.
        (("127.0.0.1:1", "10.0.0.2:2"), TLS(), ("127.0.0.1:1", "10.0.0.2:2")),
        (("127.0.0.1:1", "[::1]:1"), None, ("127.0.0.1:1", "[::1]:1")),
        (("users-0:1", "10.0.0.2:2"), None, ("users-0:1", "10.0.0.2:2")),
        (("dns:///users:1", "dns:///others:1"), None, ("dns:///users:1", "dns:///others:1")),
        (("127.0.0.1:1",), None, ("127.0.0.1:1",)),
    ],
)
def test_addresses_by_number_are_one_target(
    addresses: tuple[str, ...], tls: TLS | None, expected: tuple[str, ...]
) -> None:
    """Among them gRPC takes turns itself, and leaves out servers that are away."""
    assert targets(addresses, tls) == expected


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (("127.0.0.1:1", "10.0.0.2:2"), "127.0.0.1:1"),
        (("dns:///users:1",), None),
        (("xds:///users", "users-1:1"), None),
        (("127.0.0.1:1",), None),
    ],
)
def test_a_server_is_called_by_its_own_name(addresses: tuple[str, ...], expected: str | None) -> None:
    """What is between may go by it; only where one target has several addresses there is none, and the first serves."""
    assert dict(Settings.of(addresses).options).get("grpc.default_authority") == expected


def test_a_closed_client_says_so() -> None:
    """A call behind the end is a mistake of the program, not of the network."""
    pool = connections()
    assert len(pool.close()) == 2
    with pytest.raises(MisusedClient, match="closed"):
        pool.take()


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_changed_file_is_seen_once(tmp_path: Path) -> None:
    """Files are looked at from time to time, and a change is told one time."""
    file, clock = tmp_path / "cert.pem", Ticking()
    file.write_text("one")
    stamp = Stamp([file], clock)
    file.write_text("another")
    assert not stamp.has_changed()
    clock.now += LOOK_SECONDS
    assert stamp.has_changed()
    clock.now += LOOK_SECONDS
    assert not stamp.has_changed()
    file.unlink()
    clock.now += LOOK_SECONDS
    assert not stamp.has_changed()


def test_new_certificates_make_new_connections_and_calls_end_on_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation cuts no call off, and leaves no connection behind."""
    ca, clock = tmp_path / "ca.pem", Ticking()
    ca.write_text("first")
    monkeypatch.setattr("vibework.client._channels.Stamp", lambda files: Stamp(files, clock))
    monkeypatch.setattr(TLS, "credentials", lambda _: grpc.ssl_channel_credentials())
    pool: Connections[Channel] = Connections(("a:1", "b:2"), 1, TLS(ca=ca), lambda address, _: Channel(address))
    busy, _ = pool.take()
    ca.write_text("second, longer")
    clock.now += LOOK_SECONDS
    fresh, idle = pool.take()
    assert fresh.channel is not busy.channel
    assert [channel.address for channel in idle] == ["b:2"]
    assert not busy.channel.closed
    assert pool.give_back(busy) == [busy.channel]


def test_certificates_that_do_not_fit_leave_the_old_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a rotation ends nothing."""
    clock, authority = Ticking(), Authority.new("test")
    first, second = (authority.issue("client", ["client.internal"]) for _ in range(2))
    tls = TLS(tmp_path / "ca.pem", tmp_path / "client.pem", tmp_path / "client.key")
    for path, content in zip(tls.files, (authority.certificate, first.certificate, first.key), strict=True):
        path.write_bytes(content)
    monkeypatch.setattr("vibework.client._channels.Stamp", lambda files: Stamp(files, clock))
    pool: Connections[Channel] = Connections(("a:1",), 1, tls, lambda address, _: Channel(address))
    before, _ = pool.take()
    (tmp_path / "client.pem").write_bytes(second.certificate)
    clock.now += LOOK_SECONDS
    assert pool.take()[0] is before
    (tmp_path / "client.key").write_bytes(second.key)
    clock.now += LOOK_SECONDS
    assert pool.take()[0] is not before


def test_a_token_may_be_a_text_a_file_or_a_callable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes writes a new token into the file; a callable decides for each call."""
    file, clock = tmp_path / "token", Ticking()
    file.write_text("one\n")
    monkeypatch.setattr("vibework.client._channels.Stamp", lambda files: Stamp(files, clock))
    from_file = Bearer(file)
    assert Bearer("text").metadata() == (("authorization", "Bearer text"),)
    assert Bearer(lambda: "called").metadata() == (("authorization", "Bearer called"),)
    assert Bearer(None).metadata() == ()
    assert from_file.metadata() == (("authorization", "Bearer one"),)
    file.write_text("number two")
    clock.now += LOOK_SECONDS
    assert from_file.metadata() == (("authorization", "Bearer number two"),)
    file.unlink()
    clock.now += LOOK_SECONDS
    assert from_file.metadata() == (("authorization", "Bearer number two"),)


def test_a_token_is_not_shown() -> None:
    """Whoever prints a client's settings learns no secret."""
    with Users.connect("127.0.0.1:1", token="hunter2") as users:
        assert "hunter2" not in repr(users._settings)


def test_what_cannot_be_is_refused_at_once() -> None:
    """A mistake shows where it was made, not at the first call."""
    with pytest.raises(ValueError, match="certificate and key"):
        TLS(certificate="cert.pem")
    with pytest.raises(ValueError, match="address"):
        Users.connect([])
    with pytest.raises(ValueError, match="connection"):
        Users.connect("a:1", connections=0)


def test_the_service_config_is_what_grpc_reads() -> None:
    """Bare stubs take addresses in turn, and repeat the methods that they name."""
    config = json.loads(service_config(["/vibework.users.v1.UserService/GetUser"]))
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    (method,) = config["methodConfig"]
    assert method["name"] == [{"service": "vibework.users.v1.UserService", "method": "GetUser"}]
    assert "methodConfig" not in json.loads(service_config())
