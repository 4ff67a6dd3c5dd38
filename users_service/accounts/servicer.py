"""AccountService on the wire: each method converts, calls and converts back."""

from __future__ import annotations

from vibework.users.v1 import account_service_pb2 as pb
from vibework.users.v1 import account_service_pb2_grpc

from chassis.contract.keyset import Pages, TimeAndId
from chassis.contract.pagetokens import page_size
from chassis.interceptors import Context
from users_service.accounts import messages
from users_service.accounts.password_changes import Credentials
from users_service.accounts.provider_sign_in import AccountSignIn
from users_service.accounts.service import AccountService


class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    """Answers the RPCs of ``vibework.users.v1.AccountService``."""

    def __init__(
        self, accounts: AccountService, sign_in: AccountSignIn, credentials: Credentials, pages: Pages[TimeAndId]
    ) -> None:
        self._accounts = accounts
        self._sign_in = sign_in
        self._credentials = credentials
        self._pages = pages

    async def LinkAccount(self, request: pb.LinkAccountRequest, context: Context) -> pb.LinkAccountResponse:
        """Link a provider account to a user."""
        return await self._accounts.link_account(request)

    async def SignInWithAccount(
        self, request: pb.SignInWithAccountRequest, context: Context
    ) -> pb.SignInWithAccountResponse:
        """Sign in with a provider account."""
        return await self._sign_in.sign_in_with_account(request)

    async def UnlinkAccount(self, request: pb.UnlinkAccountRequest, context: Context) -> pb.UnlinkAccountResponse:
        """Remove a way to sign in."""
        left = await self._accounts.unlink_account(request.user_id, request.id)
        return pb.UnlinkAccountResponse(remaining_accounts=left)

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Context) -> pb.ListAccountsResponse:
        """List a user's accounts."""
        page = await self._accounts.list_accounts(
            request.user_id, after=self._pages.after(request), size=page_size(request.page_size)
        )
        response = pb.ListAccountsResponse(next_page_token=self._pages.token(request, page.last))
        for account in page.accounts:
            messages.fill(response.accounts.add(), account)
        return response

    async def GetAccountTokens(
        self, request: pb.GetAccountTokensRequest, context: Context
    ) -> pb.GetAccountTokensResponse:
        """Return the tokens of an account."""
        account, tokens = await self._accounts.get_account_tokens(request.user_id, request.id)
        response = pb.GetAccountTokensResponse()
        messages.fill(response.account, account)
        messages.fill_tokens(response.tokens, tokens)
        return response

    async def UpdateAccountTokens(
        self, request: pb.UpdateAccountTokensRequest, context: Context
    ) -> pb.UpdateAccountTokensResponse:
        """Replace tokens of an account."""
        tokens = messages.tokens_of(request.tokens)
        account = await self._accounts.update_account_tokens(request.user_id, request.id, tokens, request.etag)
        response = pb.UpdateAccountTokensResponse()
        messages.fill(response.account, account)
        return response

    async def SetPassword(self, request: pb.SetPasswordRequest, context: Context) -> pb.SetPasswordResponse:
        """Give a user the first password."""
        account = await self._credentials.set_password(request.user_id, request.password, request.password_hash)
        response = pb.SetPasswordResponse()
        messages.fill(response.account, account)
        return response

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> pb.ChangePasswordResponse:
        """Replace the password of a user who knows it."""
        revoked = await self._credentials.change_password(messages.change_of(request))
        return pb.ChangePasswordResponse(revoked_sessions=revoked)
