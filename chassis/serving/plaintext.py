"""Plain text: without TLS a server listens on loopback only, unless a setting says otherwise, and then it says so."""

from __future__ import annotations

from ipaddress import ip_address

from chassis.logs import logging
from chassis.settings import ServerSettings, WrongSetting


def leaves_the_machine(settings: ServerSettings) -> bool:
    """Say whether calls are taken in plain text from other machines."""
    return settings.tls_cert_file is None and not _is_loopback(settings.grpc_host)


def check(settings: ServerSettings) -> None:
    """Raise WrongSetting where plain text would leave the machine and nobody has said that it may."""
    if leaves_the_machine(settings) and not settings.allow_plaintext:
        rule = "set TLS_CERT_FILE and TLS_KEY_FILE, or ALLOW_PLAINTEXT=true where something else encrypts"
        raise WrongSetting(f"GRPC_HOST: without TLS only an address of loopback; {rule}")


def tell(settings: ServerSettings) -> None:
    """Warn of plain text that leaves the machine."""
    if leaves_the_machine(settings):
        text = "PLAIN TEXT: whoever is on the network reads and changes every call, as ALLOW_PLAINTEXT allows"
        logging.get("chassis.serving.plaintext").warning(text, host=settings.grpc_host)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        # A name may lead anywhere, today or tomorrow.
        return False
