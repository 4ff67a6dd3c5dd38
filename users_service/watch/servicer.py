"""WatchUsers on the wire."""

from __future__ import annotations

from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1 import user_service_pb2_grpc

from chassis.interceptors import Context
from users_service.watch.service import WatchService


class WatchServicer(user_service_pb2_grpc.UserServiceServicer):
    """Answers the RPC of ``vibework.users.v1.UserService`` that streams."""

    def __init__(self, watches: WatchService) -> None:
        self._watches = watches

    async def WatchUsers(  # type: ignore[override] # writes by itself instead of yielding
        self, request: pb.WatchUsersRequest, context: Context
    ) -> None:
        """Stream what happens to users."""
        await self._watches.watch_users(request, context.write)
