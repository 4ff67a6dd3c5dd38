"""Where keys come from: files and addresses as they really are, and a server that takes tokens by them."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web

from chassis.access import key_sources
from chassis.access.key_sources import FileSource, UrlSource, open_keys
from chassis.access.keysets import MOST_BYTES, KeySetWrong
from chassis.settings import AccessSettings, ServerSettings, WrongSetting
from tests.harness.issuer import AUDIENCE, ISSUER, Issuer, key_set
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.access.conftest import VALIDATE, WEB, As, Asking, Certificates, PolicyFile
from tests.unit.chassis.conftest import Log, Running, Serve, failure_of


@dataclass
class Address:
    """An address of keys: what it answers, and what it was asked with."""

    answer: Callable[[], web.StreamResponse]
    url: str = ""
    asked: list[str | None] = field(default_factory=list)


@asynccontextmanager
async def published(certificates: Certificates, content: bytes) -> AsyncIterator[Address]:
    """Serve a key set over https, with the server's certificate."""
    address = Address(lambda: web.Response(body=content))

    async def answer(request: web.Request) -> web.StreamResponse:
        address.asked.append(request.headers.get("Authorization"))
        return address.answer()

    application = web.Application()
    application.router.add_get("/openid/v1/jwks", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.settings["tls_cert_file"], certificates.settings["tls_key_file"])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    address.url = f"https://127.0.0.1:{runner.addresses[0][1]}/openid/v1/jwks"
    try:
        yield address
    finally:
        await runner.cleanup()


def of_tokens(**sources: Any) -> dict[str, Any]:
    """Return the settings of a server that takes tokens."""
    return {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, **sources}


def with_token(token: str) -> dict[str, Any]:
    """Return the options of a call that brings a token."""
    return {"metadata": (("authorization", f"Bearer {token}"),)}


async def test_an_address_is_asked_over_tls_with_the_token_of_a_file(certificates: Certificates) -> None:
    """As the API server of Kubernetes wants it; the token is read each time, because it is renewed."""
    token = certificates.write("token", b"first\n")
    content = key_set(Issuer())
    async with published(certificates, content) as address:
        source = UrlSource(address.url, certificates.settings["tls_client_ca_file"], token)
        assert await source.read() == content
        token.write_text("second")
        await source.read()
    assert address.asked == ["Bearer first", "Bearer second"]


async def test_what_an_address_must_not_answer(certificates: Certificates) -> None:
    """An error, a way to somewhere else (which would get the token), and an endless body are no key set."""
    authority = certificates.settings["tls_client_ca_file"]
    async with published(certificates, b"") as address:
        source = UrlSource(address.url, authority, None)
        answers: list[Callable[[], web.StreamResponse]] = [
            lambda: web.Response(status=500, text="a secret of theirs"),
            lambda: web.Response(status=302, headers={"Location": address.url}),
        ]
        for answer in answers:
            address.answer = answer
            with pytest.raises(KeySetWrong, match=r"^the address answers (500|302)$"):
                await source.read()
        address.answer = lambda: web.Response(body=b"x" * (4 * MOST_BYTES))
        assert MOST_BYTES < len(await source.read()) < 3 * MOST_BYTES
        with pytest.raises(KeySetWrong, match=r"^the address cannot be read: \w+$"):
            await UrlSource(address.url, None, None).read()
    with pytest.raises(KeySetWrong):
        await source.read()


async def test_an_address_that_is_silent_holds_up_no_start(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server serves health, refuses tokens, and takes them once the address answers."""
    monkeypatch.setattr(key_sources, "ASK_AGAIN_SECONDS", 0.05)
    issuer = Issuer()
    async with published(certificates, key_set(issuer)) as address:
        good, silent = address.answer, asyncio.Event()

        def fail() -> web.StreamResponse:
            silent.set()
            return web.Response(status=503)

        address.answer = fail
        ca_file = certificates.settings["tls_client_ca_file"]
        running = await serve(**of_tokens(jwks_url=address.url, jwks_ca_file=ca_file))
        assert silent.is_set()
        failure = await failure_of(running.validate(**with_token(issuer.token())))
        assert failure.metadata == {"problem": "token_key_unknown"}
        address.answer = good
        await _until_accepted(running, issuer)


async def _until_accepted(running: Running, issuer: Issuer) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                # Each a new one: a refused token is remembered for a second.
                await running.validate(**with_token(issuer.token(jti=os.urandom(8).hex())))
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_file_of_keys_is_read_again(
    serve: Serve, tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new key is taken without a restart; a file that is wrong is told once, and the last good one serves."""
    monkeypatch.setattr(key_sources, "FILE_LOOK_SECONDS", 0.01)
    old, new = Issuer("old"), Issuer("new")
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(old))
    running = await serve(**of_tokens(jwks_file=file))
    await running.validate(**with_token(old.token()))
    file.write_bytes(key_set(new))
    await _until_accepted(running, new)
    assert (await failure_of(running.validate(**with_token(old.token())))).reason == "CALLER_UNKNOWN"
    file.write_bytes(b"{}")
    (line,) = await log.wait_for("key set not read")
    await asyncio.sleep(0.1)
    await running.validate(**with_token(new.token()))
    assert len([each for each in log.lines if each["event"] == line["event"]]) == 1


async def test_the_source_of_a_file_reads_it_only_when_it_changed(tmp_path: Path) -> None:
    """It is looked at every second."""
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(Issuer()))
    source = FileSource(file)
    assert await source.read() is not None
    assert await source.read() is None
    file.unlink()
    with pytest.raises(KeySetWrong):
        await source.read()


@pytest.mark.parametrize("header", ["Basic d2ViOnNlY3JldA==", "Bearer", "Bearer ", "bearerx y", "Token x"])
async def test_only_bearer_tokens_are_taken(serve: Serve, tmp_path: Path, header: str) -> None:
    """Any other form of the header is refused, and so are two of them, of which one would count."""
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(Issuer()))
    running = await serve(**of_tokens(jwks_file=file))
    failure = await failure_of(running.validate(metadata=(("authorization", header),)))
    assert (failure.reason, failure.metadata) == ("CALLER_UNKNOWN", {"problem": "token_malformed"})


async def test_without_a_credential_a_call_is_refused(serve: Serve, tmp_path: Path) -> None:
    """Once tokens are taken they are needed, policy or none; two headers are as bad as none."""
    issuer, file = Issuer(), tmp_path / "jwks.json"
    file.write_bytes(key_set(issuer))
    running = await serve(**of_tokens(jwks_file=file))
    assert (await failure_of(running.validate())).metadata == {"problem": "no_credential"}
    token = issuer.token()
    twice = (("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}"))
    assert (await failure_of(running.validate(metadata=twice))).metadata == {"problem": "token_malformed"}
    await running.validate(metadata=(("authorization", f"bEARER {token}"),))


async def test_a_token_names_the_caller_over_a_certificate(
    asking: Asking, as_caller: As, policy_file: PolicyFile, tmp_path: Path
) -> None:
    """A certificate without a token names its own caller; beside one it must be acceptable, too."""
    issuer, file = Issuer(), tmp_path / "jwks.json"
    file.write_bytes(key_set(issuer))
    policy_file.grant("jwt:web", VALIDATE)
    running = await asking(**of_tokens(jwks_file=file))
    web, nobody = await as_caller(running, WEB), await as_caller(running, "10.0.0.1")
    assert (await failure_of(web.validate())).metadata == {"caller": WEB, "rpc": VALIDATE}
    await web.validate(**with_token(issuer.token("web")))
    failure = await failure_of(web.validate(**with_token(issuer.token("other"))))
    assert failure.metadata == {"caller": "jwt:other", "rpc": VALIDATE}
    wrong = await failure_of(web.validate(**with_token(Issuer().token("web"))))
    assert wrong.metadata == {"problem": "token_signature"}
    unacceptable = await failure_of(nobody.validate(**with_token(issuer.token("web"))))
    assert unacceptable.metadata == {"problem": "certificate_name"}


async def test_no_token_is_in_the_log(serve: Serve, tmp_path: Path, log: Log) -> None:
    """Neither one that was taken nor one that was refused."""
    issuer, file = Issuer(), tmp_path / "jwks.json"
    file.write_bytes(key_set(issuer))
    running = await serve(**of_tokens(jwks_file=file), log_level="debug")
    good, bad = issuer.token(), Issuer().token()
    await running.validate(**with_token(good))
    assert bad not in str(await failure_of(running.validate(**with_token(bad))))
    await log.wait_for("rpc")
    assert not any(token.split(".")[2] in log.text for token in (good, bad))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"jwt_issuer": ISSUER}, "JWT_ISSUER, JWT_AUDIENCE, and one of JWKS_FILE and JWKS_URL go together"),
        ({"jwt_audience": AUDIENCE}, "JWT_ISSUER, JWT_AUDIENCE, and one of JWKS_FILE and JWKS_URL go together"),
        (of_tokens(), "JWT_ISSUER, JWT_AUDIENCE, and one of JWKS_FILE and JWKS_URL go together"),
        (of_tokens(jwks_file="f", jwks_url="https://a"), "JWT_ISSUER, JWT_AUDIENCE, and one of"),
        (of_tokens(jwks_url="http://a"), "an address that begins with https://"),
        (of_tokens(jwks_file="f", jwks_ca_file="f"), "JWKS_CA_FILE and JWKS_TOKEN_FILE are for JWKS_URL"),
        (of_tokens(jwks_file="f", jwt_algorithms="RS256,HS256"), "'HS256' is none of RS256"),
        (of_tokens(jwks_file="f", jwt_algorithms="none"), "'none' is none of RS256"),
        ({"access_policy_file": "f"}, "ACCESS_POLICY_FILE: a policy needs TLS_CLIENT_CA_FILE or JWT_ISSUER"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], told: str) -> None:
    """Half a setting would leave everyone out, or nobody."""
    with pytest.raises(ValueError, match=told):
        ServerSettings(**settings)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("jwks_file", None, "JWKS_FILE: there is no such file"),
        ("jwks_file", b"no", "JWKS_FILE: it is no JSON"),
        ("jwks_file", b'{"keys": []}', "JWKS_FILE: there is no public key with a kid in it that verifies signatures"),
        ("jwks_file", b"[]", "JWKS_FILE: it has no list `keys`, or one of more than 100"),
        ("jwks_ca_file", b"no", "JWKS_CA_FILE: there is no certificate (PEM) in the file"),
        ("jwks_token_file", None, "JWKS_TOKEN_FILE: there is no such file"),
    ],
)
def test_files_that_cannot_be_used_stop_the_start(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    """One line names the setting, as for every other file."""
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    source = {} if name == "jwks_file" else {"jwks_url": "https://127.0.0.1:1/"}
    with pytest.raises(WrongSetting) as caught:
        open_keys(AccessSettings(**of_tokens(**{name: path}, **source)))
    assert str(caught.value) == told
