"""Limits of one connection: options of gRPC's core."""

from __future__ import annotations

from typing import Any, Final

from chassis.interceptors.metadata_limit import MOST_METADATA_BYTES
from chassis.settings import ServerSettings

# Bytes of a call's metadata: beyond this gRPC's core refuses some calls, more of them the larger they are; beyond
# MOST_METADATA_BYTES it refuses all.
METADATA_BYTES: Final = 8 * 1024
# Calls that may wait, at one listener, to be begun. Of those beyond it gRPC's core ends some as CANCELLED, which says
# nothing and which nobody repeats; by its default half of the calls that one connection may make at once are beyond it.
# Each that waits takes 5 to 9 KB, also one that its caller has taken back: a flood fills all listeners.
MOST_WAITING: Final = 4_000
# TLS, the first frame of HTTP/2 and the answer to our settings take a few round trips; bad networks need the rest.
HANDSHAKE_MS: Final = 10_000


def options(settings: ServerSettings) -> list[tuple[str, Any]]:
    """Return the options of a server whose port others share."""
    found: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_send_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MOST_METADATA_BYTES),
        ("grpc.max_concurrent_streams", settings.grpc_max_calls_per_connection),
        ("grpc.server.max_pending_requests", MOST_WAITING),
        ("grpc.server.max_pending_requests_hard_limit", MOST_WAITING),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.http2.settings_timeout", HANDSHAKE_MS),
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_ms),
        ("grpc.keepalive_timeout_ms", settings.grpc_keepalive_timeout_ms),
        # Without this one, the option above has no effect (1.85.1): the core waits a minute for the answer to a ping.
        ("grpc.http2.ping_timeout_ms", settings.grpc_keepalive_timeout_ms),
        # Callers may ping as often as we do; the default answers GOAWAY too_many_pings.
        ("grpc.http2.min_ping_interval_without_data_ms", settings.grpc_keepalive_ms // 2),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    if settings.grpc_max_connection_idle_ms:
        found.append(("grpc.max_connection_idle_ms", settings.grpc_max_connection_idle_ms))
    if settings.grpc_max_connection_age_ms:
        found += [
            ("grpc.max_connection_age_ms", settings.grpc_max_connection_age_ms),
            ("grpc.max_connection_age_grace_ms", settings.grpc_max_connection_age_grace_ms),
        ]
    return found
