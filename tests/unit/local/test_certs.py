"""`script/certs`: what it makes is what the services and a caller need, for that machine and no longer than meant."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from chassis.access.policy import parse
from script.local import certs
from script.local.certs import CALLER, NAMES, POLICY, made


def test_each_certificate_names_its_owner_and_fits_its_key(tmp_path: Path) -> None:
    """The authority vouches for all of them, and a caller is known by the first name."""
    certificates = made(tmp_path / "certs")
    for name, alternative in NAMES.items():
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificates.certificate(name), certificates.key(name))
        found = x509.load_pem_x509_certificate(certificates.certificate(name).read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kinds = (x509.UniformResourceIdentifier, x509.DNSName, x509.IPAddress)
        assert {str(each) for kind in kinds for each in names.get_values_for_type(kind)} == set(alternative)
        authority = x509.load_pem_x509_certificate(certificates.authority.read_bytes())
        found.verify_directly_issued_by(authority)
        assert certificates.key(name).stat().st_mode & 0o777 == 0o600
    assert parse(POLICY.encode(), ()).granting(CALLER, "UserService/GetUser")


def test_what_is_good_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running it again changes nothing, until it is asked for, one is missing, or one soon ends; a policy is kept."""
    certificates = made(tmp_path)
    certificates.policy.write_text("# mine")
    before = certificates.certificate("users").read_bytes()
    assert made(tmp_path).certificate("users").read_bytes() == before
    assert made(tmp_path, anew=True).certificate("users").read_bytes() != before
    certificates.key("caller").unlink()
    after = certificates.certificate("users").read_bytes()
    assert made(tmp_path).certificate("users").read_bytes() != after
    monkeypatch.setattr(certs, "ENOUGH", timedelta(days=120))
    assert not certificates.is_good()
    assert certificates.policy.read_text() == "# mine"


def test_the_command_says_where_everything_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths to copy, and the names by which callers are known."""
    assert certs.main(["--directory", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert str(tmp_path / "caller.key") in told
    assert CALLER in told
