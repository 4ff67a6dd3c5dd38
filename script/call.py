"""`script/call`: one call of a service, with its request and its answer as JSON, where grpcurl is not there."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from vibework.client import TLS, errors
from vibework.client._channels import Bearer
from vibework.client._decoding import failure_of
from vibework.client._generated import notifications, users

# By service: where it is, unless the variable says otherwise.
ADDRESSES: Final = {
    "users": ("USERS_ADDRESS", "127.0.0.1:50051"),
    "notifications": ("NOTIFICATIONS_ADDRESS", "127.0.0.1:50052"),
}
EXIT_FAILED: Final = 1
EXIT_MISUSED: Final = 2


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Call, and print the answer; return the exit code: 0 answered, 1 an error, 2 not a call."""
    options = _parser().parse_args(arguments)
    if options.list or not options.method:
        print("\n".join(_line(method) for method in methods()))
        return 0
    try:
        method = named(options.method)
        request = _request(method, sys.stdin.read() if options.data == "-" else options.data)
    except (LookupError, json_format.ParseError) as problem:
        print(f"call: {problem.args[0]}", file=sys.stderr)
        return EXIT_MISUSED
    try:
        for answer in answers(method, request, options, environment):
            print(json_format.MessageToJson(answer, preserving_proto_field_name=True, ensure_ascii=False), flush=True)
    except grpc.RpcError as error:
        print(_told(failure_of(error)), file=sys.stderr)
        return EXIT_FAILED
    except (KeyboardInterrupt, BrokenPipeError):
        # Whoever watched has seen enough.
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="script/call", description=__doc__)
    parser.add_argument("method", nargs="?", metavar="SERVICE/METHOD", help="for example UserService/GetUser")
    parser.add_argument("data", nargs="?", default="{}", metavar="JSON", help="the request; `-`: from standard input")
    parser.add_argument("--list", action="store_true", help="show what can be called")
    parser.add_argument(
        "--address", help="HOST:PORT; default: USERS_ADDRESS and NOTIFICATIONS_ADDRESS, else this machine"
    )
    parser.add_argument("--ca", type=Path, help="over TLS, the service's certificate checked against this authority")
    parser.add_argument("--cert", type=Path, help="certificate to show")
    parser.add_argument("--key", type=Path, help="its key")
    parser.add_argument("--token-file", type=Path, help="file with a token to show")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to wait for an answer; 0: for ever")
    return parser


def methods() -> list[MethodDescriptor]:
    """Return all that can be called."""
    services = dict.fromkeys(name.partition("/")[0] for name in (*users.METHODS, *notifications.METHODS))
    return [method for name in services for method in Default().FindServiceByName(name).methods]


def named(text: str) -> MethodDescriptor:
    """Return the method of a name, with or without its package and its service. Raises LookupError."""
    wanted = text.strip("/").replace("/", ".")
    found = [method for method in methods() if f".{method.full_name}".endswith(f".{wanted}")]
    if len(found) != 1:
        raise LookupError(f"there is no method {text!r}: script/call --list shows all")
    return found[0]


def answers(
    method: MethodDescriptor, request: Any, options: argparse.Namespace, environment: Mapping[str, str]
) -> Iterator[Any]:
    """Make the call and yield what is answered."""
    answer = message_factory.GetMessageClass(method.output_type)
    variable, usual = ADDRESSES[method.full_name.split(".")[1]]
    with _channel(options, options.address or environment.get(variable) or usual) as channel:
        kind: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
        call = kind(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        made = call(request, timeout=options.seconds or None, metadata=Bearer(options.token_file).metadata())
        yield from made if method.server_streaming else (made,)


def _channel(options: argparse.Namespace, address: str) -> grpc.Channel:
    if options.ca is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, TLS(ca=options.ca, certificate=options.cert, key=options.key).credentials())


def _request(method: MethodDescriptor, text: str) -> Any:
    return json_format.Parse(text or "{}", message_factory.GetMessageClass(method.input_type)())


def _line(method: MethodDescriptor) -> str:
    return f"{method.containing_service.full_name}/{method.name}"


def _told(failure: errors.VibeworkError) -> str:
    """Say what went wrong: code, reason, message; then what the error carries, a line each."""
    lines = [f"{failure.code.name} {failure.reason}".rstrip() + f": {failure.message}"]
    lines += [f"  {each.field}: {each.description} ({each.reason})" for each in failure.field_violations]
    lines += [f"  {key}: {value}" for key, value in failure.metadata.items()]
    if failure.retry_after is not None:
        lines.append(f"  again after {failure.retry_after:g} s")
    if failure.request_id:
        lines.append(f"  request {failure.request_id}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
