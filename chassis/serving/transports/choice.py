"""The choice of a transport by ``GRPC_TRANSPORT``, and what a setting cannot ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from chassis.serving.listeners import Listeners
from chassis.serving.transports import Routes, Transport
from chassis.settings import ServerSettings, WrongSetting

# What `native` does not do, by the setting that asks for it, and what to do about that.
NOT_NATIVE: Final = {
    "tls_client_ca_file": "has no mutual TLS; unset it where something in front of the server checks certificates",
    "tls_cert_file": "has no TLS; unset it where something in front of the server encrypts",
    "grpc_max_connection_age_ms": "closes no connection for its age; set it to 0",
    "grpc_max_connection_idle_ms": "closes no connection that is idle; set it to 0",
}


def check(settings: ServerSettings) -> None:
    """Raise WrongSetting, which names the setting, where one asks for what the transport does not do."""
    if settings.grpc_transport != "native":
        return
    if find_spec("pygrpc_native") is None:
        raise WrongSetting("GRPC_TRANSPORT: native needs another package: install vibework-services[native]")
    for name, what in NOT_NATIVE.items():
        if getattr(settings, name):
            raise WrongSetting(f"{name.upper()}: GRPC_TRANSPORT=native {what}")


def ages(settings: ServerSettings) -> bool:
    """Say whether connections can be given a maximum age."""
    return settings.grpc_transport != "native"


def transport(settings: ServerSettings, routes: Sequence[Routes]) -> Transport:
    """Return what serves these routes; call it inside the event loop that will serve. Raises WrongSetting."""
    check(settings)
    if settings.grpc_transport == "native":
        # The package is there only where that is asked for.
        from chassis.serving.transports.native import Native

        return Native(settings, routes)
    return Listeners(settings, routes)
