"""An issuer of tokens for tests: its keys, the key set that it publishes, and tokens with whatever claims."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import algorithms

ISSUER: Final = "https://issuer.example.org"
AUDIENCE: Final = "vibework"


def _rsa() -> Any:
    return rsa.generate_private_key(65_537, 2_048)


_MAKERS: Final[dict[str, Any]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _rsa),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class Issuer:
    """Signs tokens with a key of one algorithm, known as ``kid``; one of ES256 is quick to make."""

    def __init__(self, kid: str = "one", algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.key = _MAKERS[algorithm]()

    def jwk(self, **more: Any) -> dict[str, Any]:
        """Return the public key as a key set has it; ``more`` overrides, and None leaves out."""
        kinds: dict[str, Any] = {
            "R": algorithms.RSAAlgorithm,
            "P": algorithms.RSAAlgorithm,
            "ES": algorithms.ECAlgorithm,
            "Ed": algorithms.OKPAlgorithm,
        }
        kind = kinds.get(self.algorithm[:2]) or kinds[self.algorithm[:1]]
        public = kind.to_jwk(self.key.public_key(), as_dict=True)
        public.pop("key_ops", None)
        described = {**public, "kid": self.kid, "use": "sig", "alg": self.algorithm, **more}
        return {name: value for name, value in described.items() if value is not None}

    def token(self, subject: str = "web", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token that is good for an hour; ``claims`` override, and None leaves out."""
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": [AUDIENCE], "sub": subject, "iat": now, "nbf": now, "exp": now + 3_600}
        content = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(content, self.key, algorithm=self.algorithm, headers={"kid": self.kid, **(headers or {})})


def key_set(*keys: Issuer | dict[str, Any]) -> bytes:
    """Return a key set (RFC 7517) of issuers, or of keys as they are."""
    return json.dumps({"keys": [key.jwk() if isinstance(key, Issuer) else key for key in keys]}).encode()
