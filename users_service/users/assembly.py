"""Puts UserService together; for the composition root."""

from __future__ import annotations

from collections.abc import Callable

from vibework.users.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server

from chassis.serving.registration import Registration, partly_built
from users_service.parts import Parts
from users_service.users.disabling import EndSessions, UserDisabling
from users_service.users.proofs import VoidProofs
from users_service.users.reads import UserReads
from users_service.users.service import StorePassword, UserService
from users_service.users.servicer import UserServicer


def assemble(
    parts: Parts,
    reads: UserReads,
    *,
    on_deleted: Callable[[], None],
    store_password: StorePassword,
    void_proofs: VoidProofs,
    end_sessions: EndSessions,
) -> Registration:
    """Return UserService with its registration."""
    service = UserService(
        database=parts.database,
        query=parts.query,
        reads=reads,
        idempotency=parts.idempotency,
        passwords=parts.passwords,
        notices=parts.notices,
        clock=parts.clock,
        on_deleted=on_deleted,
        store_password=store_password,
        void_proofs=void_proofs,
    )
    disabling = UserDisabling(parts.database, parts.clock, parts.database_clock, end_sessions, void_proofs)
    servicer = partly_built(UserServicer)(service, disabling, parts.pages, parts.slices)
    return add_UserServiceServicer_to_server, servicer
