"""VerificationService on the wire: each method converts, calls and converts back."""

from __future__ import annotations

from vibework.users.v1 import verification_service_pb2 as pb
from vibework.users.v1 import verification_service_pb2_grpc

from chassis.interceptors import Context
from users_service.users.messages import fill as fill_user
from users_service.verifications import messages
from users_service.verifications.attempt import Attempt
from users_service.verifications.model import Purpose
from users_service.verifications.service import VerificationService
from users_service.verifications.sign_in import VerificationSignIn


class VerificationServicer(verification_service_pb2_grpc.VerificationServiceServicer):
    """Answers the RPCs of ``vibework.users.v1.VerificationService``."""

    def __init__(self, verifications: VerificationService, sign_in: VerificationSignIn) -> None:
        self._verifications = verifications
        self._sign_in = sign_in

    async def CreateVerification(
        self, request: pb.CreateVerificationRequest, context: Context
    ) -> pb.CreateVerificationResponse:
        """Create a verification."""
        return await self._verifications.create_verification(request)

    async def ConsumeVerification(
        self, request: pb.ConsumeVerificationRequest, context: Context
    ) -> pb.ConsumeVerificationResponse:
        """Check a secret of any purpose and consume it."""
        attempt = _attempt(messages.purpose_of(request.purpose), request)
        response = pb.ConsumeVerificationResponse()
        messages.fill(response.verification, await self._verifications.consume_verification(attempt))
        return response

    async def VerifyEmail(self, request: pb.VerifyEmailRequest, context: Context) -> pb.VerifyEmailResponse:
        """Mark the address of a user verified."""
        attempt = _attempt(Purpose.EMAIL_VERIFICATION, request)
        response = pb.VerifyEmailResponse()
        fill_user(response.user, await self._verifications.verify_email(attempt))
        return response

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Context) -> pb.ResetPasswordResponse:
        """Set the password of a user who forgot it."""
        attempt = _attempt(Purpose.PASSWORD_RESET, request)
        done = await self._verifications.reset_password(attempt, request.new_password)
        response = pb.ResetPasswordResponse(user_id=done.user_id, revoked_sessions=done.revoked_sessions)
        if done.ended is not None:
            messages.fill_ended(response.ended_access, done.ended)
        return response

    async def ChangeEmail(self, request: pb.ChangeEmailRequest, context: Context) -> pb.ChangeEmailResponse:
        """Give a user the address that was proved."""
        attempt = _attempt(Purpose.EMAIL_CHANGE, request, request.user_id)
        response = pb.ChangeEmailResponse()
        fill_user(response.user, await self._verifications.change_email(attempt))
        return response

    async def SignInWithVerification(
        self, request: pb.SignInWithVerificationRequest, context: Context
    ) -> pb.SignInWithVerificationResponse:
        """Create a session for who has proved the address."""
        return await self._sign_in.sign_in_with_verification(request)


def _attempt(
    purpose: Purpose,
    request: pb.ConsumeVerificationRequest | pb.VerifyEmailRequest | pb.ResetPasswordRequest | pb.ChangeEmailRequest,
    user_id: str = "",
) -> Attempt:
    return Attempt(purpose, messages.secret_of(request.secret), request.client.ip_address, user_id)
