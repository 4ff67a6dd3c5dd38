"""The facts that the users service tells its callers, each under its reason of ``vibework.errors.v1.ErrorReason``."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from chassis.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


class RecordUnreadable(DataLoss):
    """What is stored of a user, session or account is nothing that this service wrote, and cannot be read."""

    reason = "RECORD_UNREADABLE"
    template = "what is stored cannot be read; the log names it"


class UserNotFound(NotFound):
    """No user has that id or email."""

    reason = "USER_NOT_FOUND"


class UserDisabled(FailedPrecondition):
    """The user is disabled; for those alone who have proved to be the user, or to know who is."""

    reason = "USER_DISABLED"
    template = "the user is disabled"


class EmailTaken(AlreadyExists):
    """Another user has the same email in its normalised form."""

    reason = "EMAIL_TAKEN"
    template = "a user with this email exists"


class CredentialsInvalid(Unauthenticated):
    """Unknown email or wrong password; which of the two is not told."""

    reason = "CREDENTIALS_INVALID"
    template = "email or password is wrong"


class SessionInvalid(Unauthenticated):
    """The token is unknown, expired, revoked or replaced; which of them is not told."""

    reason = "SESSION_INVALID"
    template = "the session token is not valid"


class SessionNotFound(NotFound):
    """The user has no session of that id."""

    reason = "SESSION_NOT_FOUND"


class AccountNotFound(NotFound):
    """The user has no account of that id."""

    reason = "ACCOUNT_NOT_FOUND"


class AccountAlreadyLinked(AlreadyExists):
    """The provider account belongs to a user already."""

    reason = "ACCOUNT_ALREADY_LINKED"
    template = "the provider account is linked already"


class LastAccount(FailedPrecondition):
    """Without the account, the user could not sign in any more."""

    reason = "LAST_ACCOUNT"
    template = "the last way to sign in cannot be unlinked"


class LinkingNotAllowed(FailedPrecondition):
    """A user with the email exists, and the provider or this system has not verified it."""

    reason = "LINKING_NOT_ALLOWED"
    template = "an account is linked by email only where provider and user have the email verified"


class PasswordNotSet(FailedPrecondition):
    """The user signs in without a password."""

    reason = "PASSWORD_NOT_SET"


class PasswordAlreadySet(FailedPrecondition):
    """The user has a password."""

    reason = "PASSWORD_ALREADY_SET"
    template = "the user has a password; change it instead"


class PasswordHashUnsupported(InvalidArgument):
    """The hash to import has a format, or parameters, that cannot be verified here."""

    reason = "PASSWORD_HASH_UNSUPPORTED"
    template = "unknown format, parameters beyond the limits, or a hash that cannot be verified here"


class PasswordCompromised(InvalidArgument):
    """The new password is on the list of common ones."""

    reason = "PASSWORD_COMPROMISED"
    template = "the password is one of the most common ones, which are guessed first"

    def __init__(self, field: str) -> None:
        """``field``: that of the request which holds the password."""
        super().__init__(violations=[FieldViolation(field, "must not be a common password", self.reason)])


class NotificationsServiceUnavailable(Unavailable):
    """The notifications service could not be asked, so what is asked for here would not be whole."""

    reason = "NOTIFICATIONS_SERVICE_UNAVAILABLE"
    template = "the notifications service cannot be reached"
    default_retry_after = timedelta(seconds=1)


class PasswordHashingBusy(ResourceExhausted):
    """As many passwords as may wait for hashing are waiting."""

    reason = "PASSWORD_HASHING_BUSY"
    template = "too many passwords are waiting to be hashed"
    default_retry_after = timedelta(seconds=1)


class PasswordHashingUnavailable(Unavailable):
    """The processes that hash passwords die, or none can be started; memory or process numbers have run out."""

    reason = "PASSWORD_HASHING_UNAVAILABLE"
    template = "passwords cannot be hashed for now"
    default_retry_after = timedelta(seconds=1)


# What is raised where a password was neither hashed nor verified, and may be later.
NOT_HASHED: Final = (PasswordHashingBusy, PasswordHashingUnavailable)


class VerificationInvalid(Unauthenticated):
    """The code or token is wrong, replaced, consumed, or was never issued; which is not told."""

    reason = "VERIFICATION_INVALID"
    template = "the code or token is not valid"


class VerificationExpired(FailedPrecondition):
    """The code or token was right once and has expired."""

    reason = "VERIFICATION_EXPIRED"
    template = "the code or token has expired; create a new one"


class VerificationAttemptsExceeded(FailedPrecondition):
    """The code or token was tried wrongly too often."""

    reason = "VERIFICATION_ATTEMPTS_EXCEEDED"
    template = "too many wrong attempts; create a new code or token"


class VerificationDeliveryNotConfigured(FailedPrecondition):
    """The server has no notifications service to send by, or no URL for links of the purpose."""

    reason = "VERIFICATION_DELIVERY_NOT_CONFIGURED"
    template = "this server is not set up to send codes or links of this purpose; use VERIFICATION_DELIVERY_RETURN_CODE"


class TokensNotFound(FailedPrecondition):
    """The account holds no provider tokens."""

    reason = "TOKENS_NOT_FOUND"
    keys = ("id",)

    def __init__(self, account_id: str) -> None:
        super().__init__()
        self.id = account_id


class EncryptionKeyMissing(FailedPrecondition):
    """Stored tokens, or an answer kept for repeats, were encrypted under a key that is no longer configured."""

    reason = "ENCRYPTION_KEY_MISSING"
