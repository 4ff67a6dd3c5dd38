"""The component for callers that prove who they are: it fits the base, and takes tokens as an API server makes them."""

from __future__ import annotations

import copy
import time
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from chassis.access.key_sources import Keys
from chassis.access.policy import parse
from chassis.access.service_tokens import Expected, ServiceTokens
from tests.contract.test_deploy_manifests import ALL, FOLDER, SERVICES, SETTINGS, VERSIONS
from tests.harness.issuer import Issuer, key_set

ACCESS = FOLDER / "access"


def _settings(service: str) -> dict[str, str]:
    """Return the settings of a service as the component leaves them."""
    given = dict(ALL["ConfigMap", f"{service}-settings"]["data"])
    for name in ("access-settings.env", f"{service}-settings.env"):
        lines = (ACCESS / name).read_text().splitlines()
        parts = (line.partition("=") for line in lines if line and not line.startswith("#"))
        given.update({name: value for name, _, value in parts})
    return given


def _merged(base: Any, patch: Any) -> Any:
    """Merge as kubectl does: objects key by key, lists of what has a name (or a path) by that, others whole."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {name: _merged(base.get(name), patch.get(name)) for name in [*base, *(patch.keys() - base.keys())]}
    if isinstance(base, list) and isinstance(patch, list):
        keyed = {each.get("mountPath", each["name"]): each for each in base}
        for each in patch:
            key = each.get("mountPath", each["name"])
            keyed[key] = _merged(keyed.get(key), each)
        return list(keyed.values())
    return base if patch is None else patch


def _deployment(service: str) -> Any:
    patch = yaml.safe_load((ACCESS / f"{service}.yaml").read_text())
    return _merged(copy.deepcopy(ALL["Deployment", service]), patch)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_component_is_valid(version: str) -> None:
    """What it adds and what it changes, by Kubernetes' own strict schemas."""
    added = [each for name in ("service-accounts.yaml", "api-server.yaml") for each in _all(name)]
    for resource in [*added, *map(_deployment, SERVICES)]:
        kubernetes_validate.validate(resource, version, strict=True)


def _all(name: str) -> list[Any]:
    return list(yaml.load_all((ACCESS / name).read_text(), yaml.CSafeLoader))


@pytest.mark.parametrize("service", SERVICES)
def test_settings_are_settings_and_their_files_are_mounted(service: str) -> None:
    """A server starts with them: TLS in place of plain text, and no file in a folder that is not there."""
    given, fields = _settings(service), SETTINGS[service].model_fields
    assert {name.lower() for name in given} - {"secrets_dir"} <= fields.keys()
    secrets: dict[str, Any] = {"mysql_password": "p", "mongodb_url": "mongodb://h/d", "secret_keys": f"k:{'A' * 43}="}
    values: dict[str, Any] = {name.lower(): value for name, value in given.items() if name.lower() in fields}
    settings = SETTINGS[service](**values, **{name: value for name, value in secrets.items() if name in fields})
    assert settings.tls_cert_file is not None
    assert not settings.allow_plaintext
    (container,) = _deployment(service)["spec"]["template"]["spec"]["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    files = [value for name, value in given.items() if name.endswith("_FILE")]
    assert len(files) == 7
    assert {str(PurePosixPath(file).parent) for file in files} <= mounted


@pytest.mark.parametrize("service", SERVICES)
def test_tokens_are_mounted_under_the_names_that_settings_have(service: str) -> None:
    """The token for the other service is for our audience, the one for the API server is for its own."""
    given = _settings(service)
    volumes = {each["name"]: each for each in _deployment(service)["spec"]["template"]["spec"]["volumes"]}
    sources = volumes["tokens"]["projected"]["sources"]
    tokens = {each["serviceAccountToken"]["path"]: each["serviceAccountToken"] for each in sources[:2]}
    assert tokens[PurePosixPath(given["PEER_TOKEN_FILE"]).name]["audience"] == given["JWT_AUDIENCE"]
    assert "audience" not in tokens[PurePosixPath(given["JWKS_TOKEN_FILE"]).name]
    assert {"TLS_CERT_FILE", "TLS_KEY_FILE"} < given.keys()


async def test_a_token_of_an_api_server_opens_what_the_policy_says() -> None:
    """Claims and keys have the form that Kubernetes gives them: bound to a pod, RS256, `kid` of the key's hash."""
    given = _settings("users")
    issuer = Issuer("LN7RPCUpNwrzvsnjm2SMdiKxWJ2Wcg8Ad5vDZxMzQy0", "RS256")
    keys = Keys(_Source(key_set(issuer)), pause=300)
    await keys.refresh()
    algorithms = tuple(SETTINGS["users"].model_fields["jwt_algorithms"].default.split(","))
    tokens = ServiceTokens(Expected(given["JWT_ISSUER"], given["JWT_AUDIENCE"], algorithms), keys)
    now = int(time.time())
    claims: dict[str, Any] = {
        "aud": [given["JWT_AUDIENCE"]],
        "exp": now + 3_607,
        "iat": now,
        "iss": given["JWT_ISSUER"],
        "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
        "kubernetes.io": {
            "namespace": "vibework",
            "node": {"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
            "pod": {"name": "notifications-7c5b", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
            "serviceaccount": {"name": "notifications", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
        },
        "nbf": now,
    }
    call: Any = SimpleNamespace(context=SimpleNamespace(peer=lambda: "ipv4:10.0.0.1:1"))
    subject = tokens.subject_of(issuer.token("system:serviceaccount:vibework:notifications", **claims), call)
    policy = parse((ACCESS / "policy.toml").read_bytes(), ())
    policy.admit(f"jwt:{subject}", "/vibework.users.v1.UserService/BatchGetUsers")
    assert not policy.granting(f"jwt:{subject}", "SessionService/CreateSession")


class _Source:
    """A key set as it is."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        """Return it."""
        return self._content
