"""Groups of RPCs that a policy may name, over the contract of both services; a test holds every RPC in at least one.

An RPC stands in each group whose bearers need it. ``secrets`` gathers what its caller could take over users with:
whoever may call one of those is trusted with every account (docs/access.md).
"""

from __future__ import annotations

from typing import Final

_READ: Final = """
    UserService/GetUser UserService/BatchGetUsers UserService/ListUsers UserService/CountUsers UserService/WatchUsers
    SessionService/ValidateSession SessionService/ListSessions
    AccountService/ListAccounts
    NotificationService/GetNotification NotificationService/ListNotifications NotificationService/CountNotifications
    NotificationService/ListScheduledNotifications NotificationService/GetNotificationStats
    NotificationService/WatchNotifications
    DeliveryService/GetDelivery DeliveryService/ListDeliveries DeliveryService/CountDeliveries
    PreferenceService/GetPreferences PreferenceService/ListCategories PreferenceService/GetPushKey
    PreferenceService/ListPushSubscriptions
"""
_SIGN_IN: Final = """
    SessionService/SignUp SessionService/SignIn SessionService/ValidateSession SessionService/RefreshSession
    SessionService/ListSessions SessionService/RevokeSession SessionService/RevokeOtherSessions
    SessionService/RevokeAllSessions
    AccountService/SignInWithAccount AccountService/LinkAccount AccountService/UnlinkAccount AccountService/ListAccounts
    AccountService/ChangePassword
    VerificationService/CreateVerification VerificationService/ConsumeVerification VerificationService/VerifyEmail
    VerificationService/ResetPassword VerificationService/ChangeEmail VerificationService/SignInWithVerification
"""
_NOTIFY: Final = """
    NotificationService/CreateNotification NotificationService/BatchCreateNotifications
    NotificationService/UpdateNotification NotificationService/DeleteNotification
    NotificationService/MarkNotifications NotificationService/MarkAllNotifications
    NotificationService/GetNotification NotificationService/ListNotifications NotificationService/CountNotifications
    NotificationService/ListScheduledNotifications NotificationService/GetNotificationStats
    NotificationService/WatchNotifications
"""
_PREFERENCES: Final = """
    PreferenceService/GetPreferences PreferenceService/UpdatePreferences PreferenceService/SetPreference
    PreferenceService/ListCategories PreferenceService/GetPushKey PreferenceService/RegisterPushSubscription
    PreferenceService/ListPushSubscriptions PreferenceService/DeletePushSubscription
"""
_DELIVER: Final = """
    DeliveryService/SendDirect DeliveryService/GetDelivery DeliveryService/ListDeliveries
    DeliveryService/CountDeliveries DeliveryService/CancelDelivery DeliveryService/RetryDelivery
    DeliveryService/BatchCancelDeliveries DeliveryService/BatchRetryDeliveries DeliveryService/ReportDeliveryEvent
    DeliveryService/ListSuppressions DeliveryService/DeleteSuppression
"""
_UNSUBSCRIBE: Final = "PreferenceService/Unsubscribe"
_ADMIN: Final = """
    UserService/CreateUser UserService/UpdateUser UserService/DeleteUser UserService/DisableUser UserService/EnableUser
    UserService/ExportUser
    SessionService/RevokeSession SessionService/RevokeAllSessions
    AccountService/UnlinkAccount
    NotificationService/DeleteUserNotifications
    PreferenceService/PutCategory PreferenceService/DeleteCategory
"""
_SECRETS: Final = """
    UserService/CreateUser UserService/ImportUsers UserService/ExportUser
    SessionService/CreateSession
    AccountService/GetAccountTokens AccountService/UpdateAccountTokens AccountService/SetPassword
    AccountService/LinkAccount AccountService/SignInWithAccount
    VerificationService/CreateVerification
"""
# What each service of the pair calls at the other one.
_PAIR: Final = """
    UserService/BatchGetUsers NotificationService/DeleteUserNotifications DeliveryService/SendDirect
    DeliveryService/DeleteSuppression
    NotificationService/ListNotifications NotificationService/ListScheduledNotifications
    DeliveryService/ListDeliveries DeliveryService/ListSuppressions
    PreferenceService/GetPreferences PreferenceService/ListPushSubscriptions
"""
_REFLECTION: Final = "ServerReflection/ServerReflectionInfo"

GROUPS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(rpcs.split())
    for name, rpcs in {
        "read": _READ,
        "sign-in": _SIGN_IN,
        "notify": _NOTIFY,
        "preferences": _PREFERENCES,
        "deliver": _DELIVER,
        "unsubscribe": _UNSUBSCRIBE,
        "admin": _ADMIN,
        "secrets": _SECRETS,
        "pair": _PAIR,
        "reflection": _REFLECTION,
    }.items()
}
# All RPCs of the pair, so that one policy may serve both of its services.
CONTRACT: Final = frozenset().union(*GROUPS.values())


def short(method: str) -> str:
    """Return an RPC as policies name it, ``Service/Method``: a full name without the package of its service."""
    service, _, name = method.removeprefix("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"
