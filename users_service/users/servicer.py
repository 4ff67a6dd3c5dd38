"""UserService on the wire: each method converts, calls and converts back."""

from __future__ import annotations

from vibework.users.v1 import user_pb2, user_service_pb2_grpc
from vibework.users.v1 import user_service_pb2 as pb

from chassis.contract.fieldmask import read_paths
from chassis.contract.keyset import Pages, TimeAndId
from chassis.contract.pagetokens import page_size
from chassis.interceptors import Context
from chassis.slices import Slices
from users_service.users import messages
from users_service.users.disabling import UserDisabling
from users_service.users.service import UserService

USER = user_pb2.User.DESCRIPTOR


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Answers the RPCs of ``vibework.users.v1.UserService``."""

    def __init__(self, users: UserService, disabling: UserDisabling, pages: Pages[TimeAndId], slices: Slices) -> None:
        self._users = users
        self._disabling = disabling
        self._slices = slices
        self._pages = pages
        self._update_rules = messages.rules_of_updates()

    async def CreateUser(self, request: pb.CreateUserRequest, context: Context) -> pb.CreateUserResponse:
        """Create a user."""
        return await self._users.create_user(request)

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        """Read a user by id or email."""
        paths = read_paths(request.read_mask, USER)
        if request.id:
            user = await self._users.get_user(request.id)
        else:
            user = await self._users.get_user_by_email(request.email)
        response = pb.GetUserResponse()
        messages.fill(response.user, user, paths)
        return response

    async def BatchGetUsers(self, request: pb.BatchGetUsersRequest, context: Context) -> pb.BatchGetUsersResponse:
        """Read users by id, in the order asked for."""
        paths = read_paths(request.read_mask, USER)
        found = await self._users.batch_get_users(request.ids)
        response = pb.BatchGetUsersResponse(missing_ids=found.missing, unreadable_ids=found.unreadable)
        await self._slices.map(lambda user: messages.fill(response.users.add(), user, paths), found.users)
        return response

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        """Read a page of users."""
        paths = read_paths(request.read_mask, USER)
        page = await self._users.list_users(
            messages.filter_of(request.filter),
            order=messages.ORDERS[request.order],
            after=self._pages.after(request),
            size=page_size(request.page_size),
            with_total=request.include_total,
        )
        response = pb.ListUsersResponse(next_page_token=self._pages.token(request, page.last), total_size=page.total)
        for user in page.users:
            messages.fill(response.users.add(), user, paths)
        return response

    async def CountUsers(self, request: pb.CountUsersRequest, context: Context) -> pb.CountUsersResponse:
        """Count users."""
        return pb.CountUsersResponse(count=await self._users.count_users(messages.filter_of(request.filter)))

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Context) -> pb.UpdateUserResponse:
        """Change the fields of a user that the mask names."""
        changes = messages.changes_of(request, self._update_rules)
        user = await self._users.update_user(request.user.id, changes, request.user.etag)
        response = pb.UpdateUserResponse()
        messages.fill(response.user, user)
        return response

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Context) -> pb.DeleteUserResponse:
        """Delete a user with all records."""
        deleted = await self._users.delete_user(request.id, request.etag, allow_missing=request.allow_missing)
        return pb.DeleteUserResponse(deleted_sessions=deleted.sessions, deleted_accounts=deleted.accounts)

    async def DisableUser(self, request: pb.DisableUserRequest, context: Context) -> pb.DisableUserResponse:
        """Shut a user out."""
        wanted = messages.disablement_of(request)
        user, ended = await self._disabling.disable_user(request.id, wanted, request.etag)
        response = pb.DisableUserResponse(revoked_sessions=ended)
        messages.fill(response.user, user)
        return response

    async def EnableUser(self, request: pb.EnableUserRequest, context: Context) -> pb.EnableUserResponse:
        """Let a user in again."""
        response = pb.EnableUserResponse()
        messages.fill(response.user, await self._disabling.enable_user(request.id, request.etag))
        return response
