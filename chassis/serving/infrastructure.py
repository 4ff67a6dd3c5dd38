"""Infrastructure methods: health, reflection, and the answer to unknown methods.

Health and reflection are neither logged nor measured, and health checks are answered even while calls are refused.
Both have limits of their own (docs/decisions/0054-admission-from-the-headers-on.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from chassis.context import calls
from chassis.context.calls import Call
from chassis.errors import MethodUnknown
from chassis.interceptors import Context, Method
from chassis.interceptors.envelope import Envelope, Prepare
from chassis.interceptors.gates import Gate
from chassis.interceptors.in_flight import InFlight, ProbesInFlight
from chassis.interceptors.metadata_limit import metadata_limit
from chassis.serving.health import SERVICE_NAME as HEALTH
from chassis.serving.health import Health, HealthServicer
from chassis.serving.reflection import V1, V1ALPHA, ReflectionServicer
from chassis.serving.registration import Composer, Router, record, writing
from chassis.serving.transports import Served

# A check whose message has come is answered at once, so only checks without a message fill this; the oldest is ended.
MAX_CHECKS: Final = 1_000
# Clients of several addresses hold a watch on each connection, and take a process that refuses it for one that ends.
MAX_WATCHES: Final = 10_000
CHECK_SECONDS: Final = 5.0
# In place of the name of a method that nobody knows.
_UNKNOWN: Final = "unknown"


def checks_in_flight(cap: float) -> ProbesInFlight:
    """Return the count of health checks in flight; ``cap``: of other calls, in seconds."""
    return ProbesInFlight(MAX_CHECKS, MAX_WATCHES, min(cap, CHECK_SECONDS))


def health_checks(health: Health, checks: ProbesInFlight) -> Router:
    """Return the router of ``grpc.health.v1``."""
    recorded = record([(health_pb2_grpc.add_HealthServicer_to_server, HealthServicer(health))])
    return Composer(Envelope(checks, gates=(metadata_limit,))).router(recorded)


def contract(health: Health, in_flight: InFlight, gates: Sequence[Gate] = ()) -> Router:
    """Return the router of server reflection, whose calls count among all calls in flight, and pass these gates."""
    servicer = ReflectionServicer((*(health.services - {""}), HEALTH, V1, V1ALPHA))
    ((_, handlers),) = record([(add_ServerReflectionServicer_to_server, servicer)]).items()
    composer = Composer(Envelope(in_flight, gates=(metadata_limit, *gates)))
    methods = {f"/{service}/{name}": handlers[name] for service in (V1, V1ALPHA) for name in handlers}
    return Router({name: _conversation(composer, Method(name, streaming=True), methods[name]) for name in methods})


def _conversation(composer: Composer, method: Method, registered: Any) -> Served:
    prepare, handler = composer.prepare(registered.request_deserializer), writing(registered.stream_stream)

    async def converse(requests: AsyncIterable[bytes], context: Context) -> None:
        await handler(_prepared(requests, prepare), context)

    handle = composer.envelope.conversation(method, converse)
    return Served(handle, streaming=True, encode=registered.response_serializer, conversation=True)


async def _prepared(requests: AsyncIterable[bytes], prepare: Prepare) -> AsyncIterator[Any]:
    async for request in requests:
        yield prepare(request)


class UnknownMethods:
    """Answers methods that no other routes have with UNIMPLEMENTED and a reason; registered last.

    It has none of the gates of methods, and refuses every call anyway; ``gates``: those that come before existence.
    """

    def __init__(self, envelope: Envelope, gates: Sequence[Gate] = ()) -> None:
        self.served: dict[str, Served] = {}
        refusing = replace(envelope, gates=gates).conversation(Method(_UNKNOWN), _refuse)
        self._refusing = Served(refusing, streaming=True, conversation=True)

    def find(self, name: str, metadata: Any) -> Served:
        """Return what refuses; the name is the caller's to choose, so it is not logged."""
        call = Call(_UNKNOWN, metadata)
        call.asked = name
        calls.enter(call)
        return self._refusing


async def _refuse(_: Any, __: Context) -> NoReturn:
    raise MethodUnknown
