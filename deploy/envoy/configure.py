"""Writes what the gateway (Envoy) is started with: its configuration, and the contract as it needs it to read JSON.

    python configure.py --folder FOLDER --users HOST:PORT --notifications HOST:PORT [--origin URL] …

docs/gateway.md says what the gateway is for. Nothing here knows a service's rules: each call goes to the service that
has it, as the caller sent it, and is judged there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import vibework.notifications.v1
import vibework.users.v1
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

SERVICES: Final = {"users": vibework.users.v1, "notifications": vibework.notifications.v1}
TYPES: Final = "type.googleapis.com/envoy.extensions"
HTTP: Final = f"{TYPES}.filters.http"
CONFIGURATION: Final = "envoy.json"
CONTRACT: Final = "contract.binpb"
# Envoy's own answers to those who do not speak gRPC, by their status: the code of google.rpc.Status, and what it says.
OWN_WORDS: Final = "%LOCAL_REPLY_BODY%"
REPLIES: Final = {
    400: (3, OWN_WORDS),
    403: (7, "a page of this origin may not call the gateway"),
    404: (12, "no such method"),
    408: (4, OWN_WORDS),
    413: (8, "the request is too large"),
    415: (3, OWN_WORDS),
    503: (14, OWN_WORDS),
    504: (4, OWN_WORDS),
}
# As much of a message, request or answer, as the gateway holds at once while it writes JSON.
MOST_BYTES: Final = 16 * 1024 * 1024
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
SENT: Final = (
    "authorization",
    "accept-language",
    "content-type",
    "grpc-timeout",
    "vibework-max-staleness-ms",
    "x-grpc-web",
    "x-request-id",
    "x-user-agent",
)
READ: Final = ("grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id")


@dataclass(frozen=True)
class Certificates:
    """What services under TLS are called with: files, and the name that each service's certificate has."""

    authority: str
    certificate: str
    key: str
    names: dict[str, str]


@dataclass(frozen=True)
class Gateway:
    """Where the gateway listens, whom it calls, and which pages of other origins may call it."""

    folder: Path
    listen: str
    addresses: dict[str, str]
    origins: Sequence[str] = ()
    # As the `Host` of a call may name the gateway, besides loopback.
    hosts: Sequence[str] = ()
    certificates: Certificates | None = None

    def write(self) -> None:
        """Write both files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / CONTRACT).write_bytes(contract().SerializeToString())
        (self.folder / CONFIGURATION).write_text(json.dumps(self.configuration(), indent=2) + "\n")

    def configuration(self) -> dict[str, Any]:
        """Return Envoy's configuration."""
        clusters = [self._cluster(name, address) for name, address in self.addresses.items()]
        return {"static_resources": {"listeners": [self._listener()], "clusters": clusters}}

    def _listener(self) -> dict[str, Any]:
        manager = {
            "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "gateway",
            # The caller's, if it has one; the services make one where not.
            "generate_request_id": False,
            "preserve_external_request_id": True,
            "strip_any_host_port": True,
            # A watch is silent between its heartbeats, which are five minutes apart at most.
            "stream_idle_timeout": "600s",
            "route_config": {"virtual_hosts": [self._host()]},
            "http_filters": list(self._filters()),
            "local_reply_config": {"mappers": [_reply(status, *said) for status, said in REPLIES.items()]},
        }
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        return {
            "address": _address(self.listen),
            "per_connection_buffer_limit_bytes": MOST_BYTES,
            "filter_chains": [chain],
        }

    def _host(self) -> dict[str, Any]:
        cors = {
            "@type": f"{HTTP}.cors.v3.CorsPolicy",
            "allow_origin_string_match": [{"exact": origin} for origin in self.origins],
            "allow_methods": "POST",
            "allow_headers": ", ".join(SENT),
            "expose_headers": ", ".join(READ),
            "max_age": "600",
        }
        return {
            "name": "pair",
            # By another name a page of somebody else's could be let in, which has the name mean this machine.
            "domains": [*LOOPBACK, *self.hosts],
            "typed_per_filter_config": {"envoy.filters.http.cors": cors},
            "routes": [
                {
                    "match": {"prefix": f"/{package.__name__}."},
                    "route": {
                        "cluster": name,
                        "timeout": "0s",
                        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
                    },
                }
                for name, package in SERVICES.items()
            ],
        }

    def _filters(self) -> Iterator[dict[str, Any]]:
        yield _filter("cors", f"{HTTP}.cors.v3.Cors")
        yield _filter("rbac", f"{HTTP}.rbac.v3.RBAC", rules=self._strangers())
        for path, needed in {"/readyz": tuple(SERVICES), **{f"/readyz/{name}": (name,) for name in SERVICES}}.items():
            yield _filter(
                "health_check",
                f"{HTTP}.health_check.v3.HealthCheck",
                pass_through_mode=False,
                headers=[{"name": ":path", "string_match": {"exact": path}}],
                cluster_min_healthy_percentages={name: {"value": 100} for name in needed},
            )
        yield _filter("grpc_web", f"{HTTP}.grpc_web.v3.GrpcWeb")
        yield _filter(
            "grpc_json_transcoder",
            f"{HTTP}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            proto_descriptor=str(self.folder / CONTRACT),
            services=[name for _, name in services()],
            auto_mapping=True,
            convert_grpc_status=True,
            max_request_body_size=MOST_BYTES,
            max_response_body_size=MOST_BYTES,
            request_validation_options={"reject_unknown_method": True, "reject_unknown_query_parameters": True},
            print_options={"always_print_primitive_fields": True, "stream_newline_delimited": True},
        )
        yield _filter("router", f"{HTTP}.router.v3.Router")

    def _strangers(self) -> dict[str, Any]:
        """Return the rule that no page of an unnamed origin calls, not even with a request that needs no CORS."""
        named = [
            {"not_id": {"header": {"name": "origin", "string_match": {"exact": origin}}}} for origin in self.origins
        ]
        stranger = {"and_ids": {"ids": [{"header": {"name": "origin", "present_match": True}}, *named]}}
        return {"action": "DENY", "policies": {"strangers": {"permissions": [{"any": True}], "principals": [stranger]}}}

    def _cluster(self, name: str, address: str) -> dict[str, Any]:
        protocol = {
            "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        endpoint = {"endpoint": {"address": _address(address)}}
        cluster = {
            "name": name,
            "type": "STRICT_DNS",
            "connect_timeout": "5s",
            "per_connection_buffer_limit_bytes": MOST_BYTES,
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
            "health_checks": [
                {
                    "timeout": "2s",
                    "interval": "2s",
                    "no_traffic_interval": "2s",
                    "unhealthy_threshold": 1,
                    "healthy_threshold": 1,
                    "grpc_health_check": {},
                }
            ],
        }
        return cluster if self.certificates is None else {**cluster, "transport_socket": _tls(name, self.certificates)}


def services() -> Iterator[tuple[FileDescriptor, str]]:
    """Yield the files that declare services, and the full name of each."""
    for package in SERVICES.values():
        messages = [each for each in vars(package).values() if hasattr(getattr(each, "DESCRIPTOR", None), "file")]
        files = {message.DESCRIPTOR.file.name: message.DESCRIPTOR.file for message in messages}
        for file in files.values():
            for service in file.services_by_name.values():
                yield file, service.full_name


def contract() -> FileDescriptorSet:
    """Return the files of all services with what they import, and those of error details: each after what it needs."""
    found: dict[str, FileDescriptorProto] = {}

    def add(file: FileDescriptor) -> None:
        if file.name not in found:
            for needed in file.dependencies:
                add(needed)
            found[file.name] = FileDescriptorProto()
            file.CopyToProto(found[file.name])

    for file, _ in services():
        add(file)
    for module in (error_details_pb2, status_pb2):
        add(module.DESCRIPTOR)
    return FileDescriptorSet(file=found.values())


def _tls(name: str, files: Certificates) -> dict[str, Any]:
    """Return how a service under TLS is called: with a certificate, and only if its own has its name."""
    server = files.names[name]
    shown = {"certificate_chain": {"filename": files.certificate}, "private_key": {"filename": files.key}}
    expected = {
        "trusted_ca": {"filename": files.authority},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": server}}],
    }
    context = {"alpn_protocols": ["h2"], "tls_certificates": [shown], "validation_context": expected}
    kind = f"{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "sni": server, "common_tls_context": context}}


def _filter(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": kind, **settings}}


def _reply(status: int, code: int, message: str) -> dict[str, Any]:
    """Return how an answer of Envoy's own looks to those who do not speak gRPC."""
    is_status = {"status_code_filter": {"comparison": {"value": {"default_value": status, "runtime_key": "none"}}}}
    not_grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}, "invert_match": True}
    # What came as JSON goes on as gRPC, under this mark.
    was_json = {"name": "x-envoy-original-method", "present_match": True}
    either = {"or_filter": {"filters": [{"header_filter": {"header": header}} for header in (not_grpc, was_json)]}}
    body = {"code": code, "message": message, "details": []}
    return {
        "filter": {"and_filter": {"filters": [is_status, either]}},
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }


def _address(text: str) -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files for services that are called in plain text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--listen", default="0.0.0.0:8080")
    for name in SERVICES:
        parser.add_argument(f"--{name}", required=True, metavar="HOST:PORT")
    parser.add_argument("--origin", action="append", default=[], help="of a page that may call")
    options = parser.parse_args(arguments)
    addresses = {name: getattr(options, name) for name in SERVICES}
    origins = [origin for given in options.origin for origin in given.replace(",", " ").split()]
    Gateway(options.folder, options.listen, addresses, origins).write()


if __name__ == "__main__":
    main()
