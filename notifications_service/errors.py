"""The facts that the notifications service tells its callers, each under its reason of ``ErrorReason``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from chassis.errors import DataLoss, FailedPrecondition, FieldViolation, InvalidArgument, NotFound, Unavailable


class NotificationNotFound(NotFound):
    """No notification has that id, it is another user's, or its retention is over."""

    reason = "NOTIFICATION_NOT_FOUND"


class NotificationUnreadable(DataLoss):
    """What is stored under the id has not the form of a notification; the log names it."""

    reason = "NOTIFICATION_UNREADABLE"
    template = "the stored notification cannot be read"


class AsOfInvalid(InvalidArgument):
    """The `as_of` was not issued here, was altered, or is of another user."""

    reason = "AS_OF_INVALID"
    template = "as_of is not from an answer for this user"


class RecipientNotFound(NotFound):
    """The users service knows no user of that id; a violation names the field of each."""

    reason = "RECIPIENT_NOT_FOUND"

    def __init__(self, unknown: Mapping[str, str]) -> None:
        """``unknown``: request field → the id that it names."""
        ids = set(unknown.values())
        super().__init__(
            ids.pop() if len(ids) == 1 else None,
            violations=[FieldViolation(field, "no such user", "RECIPIENT_NOT_FOUND") for field in unknown],
        )


class UsersServiceUnavailable(Unavailable):
    """Whether the recipient exists could not be asked."""

    reason = "USERS_SERVICE_UNAVAILABLE"
    template = "the users service cannot be asked whether the recipient exists"
    default_retry_after = timedelta(seconds=1)


class PushSubscriptionNotFound(NotFound):
    """The user has no push subscription of that id or endpoint."""

    reason = "PUSH_SUBSCRIPTION_NOT_FOUND"


class PushKeyUnknown(InvalidArgument):
    """The push subscription was made with a key that is none of the server's."""

    reason = "PUSH_KEY_UNKNOWN"
    keys = ("key_id",)
    template = "the server has no key {key_id}; ask GetPushKey and subscribe again"

    def __init__(self, key_id: str) -> None:
        """``key_id``: that of the request."""
        super().__init__(violations=[FieldViolation("web_push.key_id", "no such key", self.reason)])
        self.key_id = key_id


class ChannelNotConfigured(FailedPrecondition):
    """The server is not set up for the channel."""

    reason = "CHANNEL_NOT_CONFIGURED"
    keys = ("channel",)
    template = "the server is not set up for the channel {channel}"

    def __init__(self, channel: str) -> None:
        """``channel``: `email` or `push`."""
        super().__init__()
        self.channel = channel


class CategoryNotFound(NotFound):
    """No category has that name, or it was deleted."""

    reason = "CATEGORY_NOT_FOUND"


class CategoryMandatory(FailedPrecondition):
    """Nobody can switch the category off."""

    reason = "CATEGORY_MANDATORY"
    keys = ("category",)
    template = "the category {category} cannot be switched off"

    def __init__(self, category: str) -> None:
        super().__init__()
        self.category = category


class PreferencesFull(FailedPrecondition):
    """A user has as many entries as there may be."""

    reason = "PREFERENCES_FULL"
    keys = ("limit",)
    template = "the user has {limit} entries already; remove one"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit


class DeliveryNotFound(NotFound):
    """No delivery has that id, it is another user's, or it is no longer kept."""

    reason = "DELIVERY_NOT_FOUND"


class DeliveryStateConflict(FailedPrecondition):
    """The delivery is not in a state in which that can be done to it, or what it carries is gone."""

    reason = "DELIVERY_STATE_CONFLICT"
    template = "the state of the delivery does not allow it"


class SuppressionNotFound(NotFound):
    """The address is not on the suppression list, or not for that reason."""

    reason = "SUPPRESSION_NOT_FOUND"
    keys = ()
    template = "the address is not on the suppression list"

    def __init__(self) -> None:
        """No address is named: errors are logged by whoever calls."""
        super().__init__(None)


class TemplateUnknown(InvalidArgument):
    """The server has no template of that purpose."""

    reason = "TEMPLATE_UNKNOWN"
    keys = ("purpose",)
    template = "the server has no template for {purpose}"

    def __init__(self, purpose: str) -> None:
        """``purpose``: that of the request."""
        super().__init__(violations=[FieldViolation("template.purpose", "no such template", self.reason)])
        self.purpose = purpose
