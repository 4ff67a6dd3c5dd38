"""Writes the configuration of an Envoy before several processes of each service, for callers who speak gRPC.

    python balance.py --file FILE --users LISTEN=HOST:PORT,HOST:PORT,… --notifications LISTEN=HOST:PORT,…

Each call goes to a process by itself, whatever connection it came on; one that drains, is away or fails gets none
(docs/scaling.md). A name with several addresses stands for all of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

TYPES: Final = "type.googleapis.com/envoy.extensions"
SERVICES: Final = ("users", "notifications")
# Shorter than GRPC_DRAIN_MS (2 s), for which a process that is about to end says NOT_SERVING and still takes calls.
HEALTH_INTERVAL: Final = "0.5s"
# What a process has not begun, for which it is safe to ask another one, whatever the call.
UNBEGUN: Final = "connect-failure,refused-stream,reset-before-request"

# Envoy's limits of a service, over all its processes, and a number beyond what they take.
LIMITED: Final = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
MOST: Final = 1_000_000


def configuration(listening: Mapping[str, str], processes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return Envoy's configuration; ``listening``, ``processes``: by service, ``host:port``."""
    listeners = [_listener(name, address) for name, address in listening.items()]
    clusters = [_cluster(name, processes[name]) for name in listening]
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def _listener(name: str, address: str) -> dict[str, Any]:
    route = {
        "cluster": name,
        # The caller's deadline holds, and a watch has none.
        "timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
        "retry_policy": {
            "retry_on": UNBEGUN,
            "num_retries": 2,
            "retry_host_predicate": [_previous_hosts()],
            "host_selection_retry_max_attempts": 3,
        },
    }
    # Each process ends by itself: a client that watches the health of one through Envoy would leave all of them. To a
    # client of gRPC 404 says that there is no such method, and it takes the server for a healthy one.
    watch = {"match": {"path": "/grpc.health.v1.Health/Watch"}, "direct_response": {"status": 404}}
    host = {"name": name, "domains": ["*"], "routes": [watch, {"match": {"prefix": "/"}, "route": route}]}
    router = {"@type": f"{TYPES}.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP2",
        "generate_request_id": False,
        "preserve_external_request_id": True,
        # A watch is silent between its heartbeats, which are five minutes apart at most.
        "stream_idle_timeout": "600s",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": name, "address": _address(address), "filter_chains": [chain]}


def _previous_hosts() -> dict[str, Any]:
    kind = f"{TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": kind}}


def _cluster(name: str, processes: Sequence[str]) -> dict[str, Any]:
    protocol = {
        "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoints = [{"endpoint": {"address": _address(address)}} for address in processes]
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # The processes limit themselves. Envoy's own limits (1,024 calls, 3 repeated at once) are below what they take.
        "circuit_breakers": {"thresholds": [dict.fromkeys(LIMITED, MOST)]},
        # Where no process is well, calls are refused at once, and not sent to those that are not.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "health_checks": [
            {
                "timeout": "1s",
                "interval": HEALTH_INTERVAL,
                "no_traffic_interval": HEALTH_INTERVAL,
                # One that hangs or is busy may miss an answer; one that says NOT_SERVING is believed at once.
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        # A process that answers its health and fails its calls. INTERNAL may be one caller's trouble, and counts not.
        "outlier_detection": {
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": "5s",
            # A database that is away fails all of them, and is no reason to leave out the most.
            "max_ejection_percent": 34,
        },
    }


def _address(text: str) -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True)
    for name in SERVICES:
        parser.add_argument(f"--{name}", metavar="LISTEN=HOST:PORT,…")
    options = parser.parse_args(arguments)
    given = {name: value.partition("=") for name in SERVICES if (value := getattr(options, name))}
    listening = {name: listen for name, (listen, _, _) in given.items()}
    processes = {name: rest.split(",") for name, (_, _, rest) in given.items()}
    options.file.write_text(json.dumps(configuration(listening, processes), indent=2) + "\n")


if __name__ == "__main__":
    main()
