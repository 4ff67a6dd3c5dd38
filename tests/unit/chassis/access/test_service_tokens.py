"""Service tokens: what a token must be to name its caller, and how much checking it costs."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from chassis.access import service_tokens
from chassis.access.errors import CallerRateLimited, CallerUnknown
from chassis.access.key_sources import Keys
from chassis.access.keysets import ALGORITHMS, parse
from chassis.access.service_tokens import Expected, ServiceTokens
from tests.harness.issuer import AUDIENCE, ISSUER, Issuer, key_set


@dataclass
class FromMemory:
    """A source of keys whose content is the test's."""

    content: bytes
    reads: int = 0

    async def read(self) -> bytes | None:
        """Return the content."""
        self.reads += 1
        return self.content


@dataclass
class Clocks:
    """The time of day, and a monotonic clock, that go only when they are moved."""

    wall: float = field(default_factory=time.time)
    now: float = 1_000.0

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.now += seconds


class Checked:
    """Tokens checked against the keys of a source, with the verifications counted."""

    def __init__(self, *issuers: Issuer, algorithms: tuple[str, ...] = ALGORITHMS) -> None:
        self.clocks = Clocks()
        self.source = FromMemory(key_set(*issuers))
        self.keys = Keys(self.source, pause=300, now=lambda: self.clocks.now)
        expected = Expected(ISSUER, AUDIENCE, algorithms)
        self.tokens = ServiceTokens(expected, self.keys, wall=lambda: self.clocks.wall, now=lambda: self.clocks.now)
        self.verified: list[str] = []
        verify = self.tokens._verify

        def noted(token: str) -> Any:
            self.verified.append(token)
            return verify(token)

        self.tokens._verify = noted  # type: ignore[method-assign]

    async def start(self) -> Checked:
        """Read the keys for the first time."""
        await self.keys.refresh()
        return self

    def subject(self, token: str, peer: str = "ipv4:127.0.0.1:1") -> str:
        """Return whose a token is, as the gate asks."""
        call: Any = SimpleNamespace(context=SimpleNamespace(peer=lambda: peer))
        return self.tokens.subject_of(token, call)

    def problem(self, token: str, peer: str = "ipv4:127.0.0.1:1") -> str:
        """Return why a token is refused."""
        with pytest.raises(CallerUnknown) as caught:
            self.subject(token, peer)
        return str(caught.value.problem)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_good_token_names_its_caller(algorithm: str) -> None:
    """Each algorithm works, whether the key set names it beside the key or not."""
    issuer = Issuer(algorithm=algorithm)
    for described in (issuer, issuer.jwk(alg=None, use=None)):
        checked = Checked()
        checked.source.content = key_set(described)
        await checked.start()
        assert checked.subject(issuer.token("system:serviceaccount:web:web")) == "system:serviceaccount:web:web"


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"iss": "https://other.example.org"}, "token_issuer"),
        ({"iss": None}, "token_claims"),
        ({"aud": "other"}, "token_audience"),
        ({"aud": None}, "token_claims"),
        ({"aud": []}, "token_claims"),
        ({"sub": None}, "token_claims"),
        ({"sub": ""}, "token_claims"),
        ({"sub": "a b"}, "token_claims"),
        ({"sub": "a\nb"}, "token_claims"),
        ({"sub": "x" * 256}, "token_claims"),
        ({"exp": None}, "token_claims"),
        ({"exp": 1_000}, "token_expired"),
        ({"exp": "soon"}, "token_claims"),
        ({"exp": 1e300}, "token_claims"),
        ({"nbf": 32_000_000_000}, "token_not_yet_valid"),
        ({"nbf": "soon"}, "token_claims"),
    ],
)
async def test_what_is_wrong_with_a_token_is_told(claims: dict[str, Any], problem: str) -> None:
    """Whoever set the caller up reads which claim is at fault, and nothing of what was expected."""
    issuer = Issuer()
    assert (await Checked(issuer).start()).problem(issuer.token(**claims)) == problem


async def test_an_audience_may_be_one_of_several() -> None:
    """A token for several services is for ours, too (RFC 7519, 4.1.3)."""
    issuer = Issuer()
    checked = await Checked(issuer).start()
    assert checked.subject(issuer.token(aud=["other", AUDIENCE])) == "web"
    assert checked.subject(issuer.token(aud=AUDIENCE, nbf=None, iat=None)) == "web"


async def test_clocks_may_differ_by_the_leeway() -> None:
    """29 seconds are borne at either end, 31 are not."""
    issuer = Issuer()
    checked = await Checked(issuer).start()
    now = int(checked.clocks.wall)
    assert checked.subject(issuer.token(exp=now - 28)) == "web"
    assert checked.problem(issuer.token(exp=now - 31)) == "token_expired"
    assert checked.subject(issuer.token(nbf=now + 29)) == "web"
    assert checked.problem(issuer.token(nbf=now + 32)) == "token_not_yet_valid"


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """Return a token put together by hand."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "web", "exp": 32_000_000_000}


async def test_a_token_without_a_signature_is_refused() -> None:
    """`none`, in whatever spelling, is no algorithm (RFC 8725, 2.1)."""
    issuer = Issuer()
    checked = await Checked(issuer).start()
    for name in ("none", "None", "NONE", "", None, 1, ["ES256"]):
        assert checked.problem(unsigned({"alg": name, "kid": "one"}, CLAIMS)) in ("token_algorithm", "token_malformed")


async def test_a_public_key_is_no_secret() -> None:
    """A token signed by HMAC with the public key as its secret, which anyone has, is refused (RFC 8725, 2.1)."""
    issuer = Issuer(algorithm="RS256")
    checked = await Checked(issuer).start()
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (public, public.strip()):
        message = unsigned({"alg": "HS256", "kid": "one", "typ": "JWT"}, CLAIMS).rpartition(".")[0]
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(message.encode(), secret)
        token = f"{message}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        assert checked.problem(token) == "token_algorithm"


async def test_an_algorithm_must_be_the_keys_and_one_of_ours() -> None:
    """A key set that says ES256 of its key is not talked into another one, nor is a list of ours."""
    rsa = Issuer("rsa", "RS256")
    checked = await Checked(rsa, Issuer("ec")).start()
    other = Issuer("rsa", "PS256")
    other.key = rsa.key
    assert checked.problem(other.token()) == "token_algorithm"
    limited = await Checked(rsa, algorithms=("ES256",)).start()
    assert limited.problem(rsa.token()) == "token_algorithm"
    crossed = rsa.token(headers={"kid": "ec"})
    assert checked.problem(crossed) == "token_algorithm"


async def test_a_token_of_another_key_is_refused() -> None:
    """A name of a key proves nothing; the signature does."""
    issuer, other = Issuer(), Issuer()
    checked = await Checked(issuer).start()
    assert checked.problem(other.token()) == "token_signature"
    head, claims, signature = issuer.token().split(".")
    forged = unsigned({}, {**CLAIMS, "sub": "admin"}).split(".")[1]
    assert checked.problem(f"{head}.{forged}.{signature}") == "token_signature"
    assert checked.problem(f"{head}.{claims}.") == "token_signature"


async def test_headers_that_must_be_understood_are_not_passed_over() -> None:
    """`crit` names what a verifier has to know, and there is nothing of the kind that this one knows."""
    issuer = Issuer()
    checked = await Checked(issuer).start()
    crits: list[list[str]] = [["exp"], []]
    for crit in crits:
        assert checked.problem(issuer.token(headers={"crit": crit})) == "token_malformed"
    for b64 in (True, False):
        assert checked.problem(unsigned({"alg": "ES256", "kid": "one", "b64": b64}, CLAIMS)) == "token_malformed"


@given(st.one_of(st.text(max_size=60), st.text("ab.=-_", max_size=60), st.binary(max_size=40).map(repr)))
async def test_anything_else_is_no_token(text: str) -> None:
    """Whatever stands in the header ends as an error of ours, never as one of the library's."""
    checked = await Checked(Issuer()).start()
    assert checked.problem(text) in ("token_malformed", "token_algorithm", "token_key_unknown")


async def test_a_token_is_verified_once() -> None:
    """The calls that follow find it by its hash, until it expires; the token itself is kept nowhere."""
    issuer = Issuer()
    checked = await Checked(issuer).start()
    token = issuer.token(exp=int(checked.clocks.wall) + 60)
    for _ in range(5):
        assert checked.subject(token) == "web"
    assert checked.verified == [token]
    assert token not in repr(vars(checked.tokens))
    checked.clocks.move(91)
    assert checked.problem(token) == "token_expired"
    assert len(checked.tokens._verified) == 0


async def test_a_refused_token_costs_one_verification_a_second() -> None:
    """Who repeats it in a loop is told the same without another one, from whichever connection."""
    checked = await Checked(Issuer()).start()
    token = Issuer().token()
    for number in range(50):
        assert checked.problem(token, f"ipv4:127.0.0.1:{number}") == "token_signature"
    assert len(checked.verified) == 1
    checked.clocks.move(service_tokens.REFUSAL_SECONDS)
    assert checked.problem(token) == "token_signature"
    assert len(checked.verified) == 2


async def test_a_connection_shows_so_many_new_tokens_a_second() -> None:
    """A flood of made-up tokens takes no more of the process than that; others and known tokens go on."""
    issuer = Issuer()
    checked = await Checked(issuer).start()
    known = issuer.token()
    checked.subject(known)
    for number in range(service_tokens.VERIFICATIONS_PER_SECOND - 1):
        checked.problem(f"made.up.{number}")
    with pytest.raises(CallerRateLimited) as caught:
        checked.subject(issuer.token("new"))
    assert caught.value.metadata == {"limited_by": "tokens", "per_second": "20"}
    assert checked.subject(known) == "web"
    assert checked.subject(issuer.token("new"), "ipv4:127.0.0.1:2") == "new"
    checked.clocks.move(1)
    assert checked.subject(issuer.token("newer")) == "newer"


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens and connections there are, memory stays the same."""
    monkeypatch.setattr(service_tokens, "MOST_REMEMBERED", 10)
    issuer = Issuer()
    checked = await Checked(issuer).start()
    for number in range(30):
        checked.clocks.move(1)
        checked.subject(issuer.token(str(number)), f"peer{number}")
        checked.problem(f"made.up.{number}", f"peer{number}")
    sizes = [len(getattr(checked.tokens, name)) for name in ("_verified", "_refused", "_verifications")]
    assert max(sizes) <= 11


async def test_a_key_that_leaves_the_set_takes_its_tokens_along() -> None:
    """Withdrawing a key ends what it signed at the next look; tokens of the keys that stay are not verified anew."""
    old, new = Issuer("old"), Issuer("new")
    checked = await Checked(old).start()
    token = old.token()
    checked.subject(token)
    checked.source.content = key_set(old, new)
    await checked.keys.refresh()
    checked.subject(token)
    assert len(checked.verified) == 1
    checked.source.content = key_set(new)
    await checked.keys.refresh()
    assert checked.problem(token) == "token_key_unknown"
    assert checked.subject(new.token()) == "web"


async def test_another_key_under_the_same_name_is_another_key() -> None:
    """What the old one signed is refused, though its name is there."""
    old, new = Issuer(), Issuer()
    checked = await Checked(old).start()
    token = old.token()
    checked.subject(token)
    checked.source.content = key_set(new)
    await checked.keys.refresh()
    assert checked.problem(token) == "token_signature"


async def test_a_new_key_is_asked_for_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token with an unknown key has the set read again, and is taken then; a flood of them asks no oftener."""
    old, new = Issuer("old"), Issuer("new")
    checked = await Checked(old).start()
    checked.clocks.move(61)
    assert checked.problem(new.token()) == "token_key_unknown"
    assert checked.keys._wanted.is_set()
    checked.source.content = key_set(old, new)
    await checked.keys.refresh()
    assert checked.subject(new.token("web")) == "web"
    for number in range(15):
        checked.problem(Issuer(f"no{number}").token())
    assert not checked.keys._wanted.is_set()
    checked.clocks.move(60)
    checked.problem(Issuer("none").token())
    assert checked.keys._wanted.is_set()


async def test_the_last_good_set_serves_for_a_day() -> None:
    """An issuer that is away stops no calls, and one that is away for a day no longer vouches for anybody."""
    issuer = Issuer()
    checked = await Checked(issuer).start()
    token = issuer.token(exp=int(checked.clocks.wall) + 200_000)
    checked.source.content = b"<html>"
    for _ in range(23):
        checked.clocks.move(3_600)
        await checked.keys.refresh()
        assert checked.subject(token) == "web"
    checked.clocks.move(3_600)
    await checked.keys.refresh()
    assert checked.problem(token) == "token_key_unknown"
    checked.source.content = key_set(issuer)
    await checked.keys.refresh()
    assert checked.subject(token) == "web"


def test_only_keys_that_verify_are_taken_from_a_set() -> None:
    """Secret, private, small, nameless and unknown keys are passed over, as RFC 7517 asks of those not understood."""
    good = Issuer("good")
    secret = {"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"}
    small = {"kty": "RSA", "kid": "small", "n": _number(2**1023 + 1), "e": "AQAB"}
    private = jwt.algorithms.ECAlgorithm.to_jwk(good.key, as_dict=True) | {"kid": "private"}
    others = [
        secret,
        small,
        private,
        Issuer("enc").jwk(use="enc"),
        Issuer("x").jwk(kid=None),
        Issuer("x").jwk(kid=7),
        Issuer("curve").jwk(crv="P-512"),
        Issuer("alg").jwk(alg="HS256"),
        {"kty": "new", "kid": "new"},
        {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "!", "y": "!"},
    ]
    assert set(parse(key_set(good, *others))) == {"good"}


def _number(value: int) -> str:
    content = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
