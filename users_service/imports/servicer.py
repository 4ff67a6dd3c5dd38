"""ImportUsers on the wire."""

from __future__ import annotations

from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1 import user_service_pb2_grpc

from chassis.interceptors import Context
from chassis.slices import Slices
from users_service.imports.model import ImportOutcome
from users_service.imports.service import ImportService


class ImportServicer(user_service_pb2_grpc.UserServiceServicer):
    """Answers ImportUsers of ``vibework.users.v1.UserService``; the others are answered elsewhere."""

    def __init__(self, imports: ImportService, slices: Slices) -> None:
        self._imports = imports
        self._slices = slices

    async def ImportUsers(self, request: pb.ImportUsersRequest, context: Context) -> pb.ImportUsersResponse:
        """Take over users of another system."""
        outcomes = await self._imports.import_users(request.users, validate_only=request.validate_only)
        response = pb.ImportUsersResponse()
        await self._slices.map(lambda outcome: fill(response.outcomes.add(), outcome), outcomes)
        return response


def fill(target: pb.ImportUsersResponse.Outcome, outcome: ImportOutcome) -> None:
    """Write what became of a user into a message."""
    target.id = outcome.id
    target.result = outcome.result.value
    if outcome.refusal is not None:
        target.reason = outcome.refusal.reason
        target.field = outcome.refusal.field
