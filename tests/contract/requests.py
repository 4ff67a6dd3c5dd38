"""A well-formed request for every RPC, and what a server without any rows answers to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

NOBODY: Final = "user_01jd0000000000000000000000"
NO_NOTIFICATION: Final = "0123456789abcdef01234567"
NO_DELIVERY: Final = "dlv_01jd0000000000000000000000"
PASSWORD: Final = "correct horse battery"
PROVIDER: Final = {"provider": "google", "accountId": "1"}
SECRET: Final = {"code": {"identifier": "ann@example.com", "code": "123456"}}
# A browser's public key: 65 bytes in base64 (RFC 8291, section 5).
A_POINT: Final = "BCVxsr7N/eNgVRqvHtD0zTZsEc6+VV+JvLexhqUzORcxaOzi6+AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4="
IN_AN_HOUR: Final = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
CONTENT: Final = {"title": "Hello", "message": "x", "type": "NOTIFICATION_TYPE_IN_APP"}

# RPC: (request in JSON, reason of the error or "" for OK). Whoever builds an RPC that is NOT_IMPLEMENTED here changes
# its line. Requests that would create something come last.
USERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "UserService/GetUser": ({"id": NOBODY}, "USER_NOT_FOUND"),
    "UserService/BatchGetUsers": ({"ids": [NOBODY]}, ""),
    "UserService/ListUsers": ({}, ""),
    "UserService/CountUsers": ({}, ""),
    "UserService/UpdateUser": ({"user": {"id": NOBODY, "name": "Ann"}, "updateMask": "name"}, "USER_NOT_FOUND"),
    "UserService/DeleteUser": ({"id": NOBODY}, "USER_NOT_FOUND"),
    "UserService/DisableUser": ({"id": NOBODY}, "USER_NOT_FOUND"),
    "UserService/EnableUser": ({"id": NOBODY}, "USER_NOT_FOUND"),
    "UserService/ImportUsers": ({"users": [{"id": "x ", "email": "eve@example.com"}]}, ""),
    "UserService/ExportUser": ({"id": NOBODY}, "USER_NOT_FOUND"),
    "UserService/WatchUsers": ({"resumeToken": "x"}, "RESUME_TOKEN_INVALID"),
    "SessionService/SignIn": ({"email": "ann@example.com", "password": PASSWORD}, "CREDENTIALS_INVALID"),
    "SessionService/CreateSession": ({"userId": NOBODY}, "USER_NOT_FOUND"),
    "SessionService/ValidateSession": ({"sessionToken": "x"}, "SESSION_INVALID"),
    "SessionService/RefreshSession": ({"sessionToken": "x"}, "SESSION_INVALID"),
    "SessionService/ListSessions": ({"userId": NOBODY}, ""),
    "SessionService/RevokeSession": ({"sessionId": "sess_x"}, "SESSION_NOT_FOUND"),
    "SessionService/RevokeOtherSessions": ({"sessionToken": "x"}, "SESSION_INVALID"),
    "SessionService/RevokeAllSessions": ({"userId": NOBODY}, ""),
    "AccountService/LinkAccount": ({"userId": NOBODY, "account": PROVIDER}, "USER_NOT_FOUND"),
    "AccountService/UnlinkAccount": ({"userId": NOBODY, "id": "acct_x"}, "ACCOUNT_NOT_FOUND"),
    "AccountService/ListAccounts": ({"userId": NOBODY}, ""),
    "AccountService/GetAccountTokens": ({"userId": NOBODY, "id": "acct_x"}, "ACCOUNT_NOT_FOUND"),
    "AccountService/UpdateAccountTokens": (
        {"userId": NOBODY, "id": "acct_x", "tokens": {"accessToken": "t"}},
        "ACCOUNT_NOT_FOUND",
    ),
    "AccountService/SetPassword": ({"userId": NOBODY, "password": PASSWORD}, "USER_NOT_FOUND"),
    "AccountService/ChangePassword": (
        {"userId": NOBODY, "currentPassword": PASSWORD, "newPassword": f"another {PASSWORD}"},
        "USER_NOT_FOUND",
    ),
    "VerificationService/ConsumeVerification": (
        {"purpose": "VERIFICATION_PURPOSE_SIGN_IN", "secret": SECRET},
        "VERIFICATION_INVALID",
    ),
    "VerificationService/VerifyEmail": ({"secret": SECRET}, "VERIFICATION_INVALID"),
    "VerificationService/ResetPassword": ({"secret": SECRET, "newPassword": PASSWORD}, "VERIFICATION_INVALID"),
    "VerificationService/ChangeEmail": ({"secret": SECRET, "userId": NOBODY}, "VERIFICATION_INVALID"),
    "VerificationService/SignInWithVerification": ({"secret": SECRET}, "VERIFICATION_INVALID"),
    "VerificationService/CreateVerification": (
        {
            "purpose": "VERIFICATION_PURPOSE_SIGN_IN",
            "identifier": "ann@example.com",
            "kind": "VERIFICATION_KIND_CODE",
            "delivery": "VERIFICATION_DELIVERY_RETURN_CODE",
        },
        "",
    ),
    "AccountService/SignInWithAccount": ({"account": PROVIDER, "email": "bob@example.com"}, ""),
    "SessionService/SignUp": ({"email": "cid@example.com", "password": PASSWORD}, ""),
    "UserService/CreateUser": ({"email": "dora@example.com"}, ""),
}

NOTIFICATIONS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "NotificationService/GetNotification": ({"id": NO_NOTIFICATION}, "NOTIFICATION_NOT_FOUND"),
    "NotificationService/ListNotifications": ({"userId": NOBODY}, ""),
    "NotificationService/CountNotifications": ({"userId": NOBODY, "filters": [{"read": False}]}, ""),
    "NotificationService/GetNotificationStats": ({"userId": NOBODY}, ""),
    "NotificationService/UpdateNotification": (
        {"notification": {"id": NO_NOTIFICATION, "title": "Hi"}, "updateMask": "title"},
        "NOTIFICATION_NOT_FOUND",
    ),
    "NotificationService/MarkNotifications": (
        {"userId": NOBODY, "ids": [NO_NOTIFICATION], "mark": "NOTIFICATION_MARK_READ"},
        "",
    ),
    "NotificationService/MarkAllNotifications": ({"userId": NOBODY, "mark": "NOTIFICATION_MARK_READ"}, ""),
    "NotificationService/DeleteNotification": ({"id": NO_NOTIFICATION}, "NOTIFICATION_NOT_FOUND"),
    "NotificationService/DeleteUserNotifications": ({"userId": NOBODY}, ""),
    "NotificationService/WatchNotifications": ({"userId": NOBODY, "resumeToken": "x"}, "RESUME_TOKEN_INVALID"),
    "NotificationService/ListScheduledNotifications": ({"userId": NOBODY}, ""),
    "DeliveryService/SendDirect": (
        {
            "emailAddress": "ann@example.com",
            "template": {"purpose": "welcome"},
            "expiresAt": IN_AN_HOUR,
        },
        "CHANNEL_NOT_CONFIGURED",
    ),
    "DeliveryService/GetDelivery": ({"id": NO_DELIVERY}, "DELIVERY_NOT_FOUND"),
    "DeliveryService/ListDeliveries": ({}, ""),
    "DeliveryService/CountDeliveries": ({"filters": [{"states": ["DELIVERY_STATE_FAILED"]}]}, ""),
    "DeliveryService/CancelDelivery": ({"id": NO_DELIVERY}, "DELIVERY_NOT_FOUND"),
    "DeliveryService/RetryDelivery": ({"id": NO_DELIVERY}, "DELIVERY_NOT_FOUND"),
    "DeliveryService/BatchCancelDeliveries": ({"ids": {"ids": [NO_DELIVERY]}}, ""),
    "DeliveryService/BatchRetryDeliveries": ({"filter": {"userId": NOBODY}}, ""),
    "DeliveryService/ReportDeliveryEvent": (
        {"deliveryId": NO_DELIVERY, "event": "DELIVERY_EVENT_HARD_BOUNCE"},
        "",
    ),
    "DeliveryService/ListSuppressions": ({}, ""),
    "DeliveryService/DeleteSuppression": ({"emailAddress": "ann@example.com"}, "SUPPRESSION_NOT_FOUND"),
    "PreferenceService/GetPreferences": ({"userId": NOBODY}, ""),
    "PreferenceService/UpdatePreferences": (
        {"preferences": {"userId": NOBODY, "timeZone": "Europe/Berlin"}, "updateMask": "timeZone"},
        "",
    ),
    "PreferenceService/SetPreference": (
        {"userId": NOBODY, "channel": "NOTIFICATION_TYPE_EMAIL", "mode": "PREFERENCE_MODE_OFF"},
        "",
    ),
    "PreferenceService/Unsubscribe": ({"token": "x"}, ""),
    "PreferenceService/ListCategories": ({}, ""),
    "PreferenceService/DeleteCategory": ({"name": "no-news"}, "CATEGORY_NOT_FOUND"),
    "PreferenceService/GetPushKey": ({}, "CHANNEL_NOT_CONFIGURED"),
    "PreferenceService/RegisterPushSubscription": (
        {
            "userId": NOBODY,
            "webPush": {
                "endpoint": "https://push.example.com/1",
                "p256dh": A_POINT,
                "auth": "A" * 22,
                "keyId": "k1",
            },
        },
        "CHANNEL_NOT_CONFIGURED",
    ),
    "PreferenceService/ListPushSubscriptions": ({"userId": NOBODY}, ""),
    "PreferenceService/DeletePushSubscription": ({"userId": NOBODY, "id": "push_x"}, "PUSH_SUBSCRIPTION_NOT_FOUND"),
    "PreferenceService/PutCategory": ({"category": {"name": "news", "title": "News"}}, ""),
    "NotificationService/CreateNotification": ({"userId": NOBODY, "content": CONTENT}, ""),
    "NotificationService/BatchCreateNotifications": ({"fanOut": {"userIds": [NOBODY], "content": CONTENT}}, ""),
}

# By the full name of the RPC: `package.Service/Method`.
REQUESTS: Final = {f"vibework.users.v1.{name}": case for name, case in USERS.items()} | {
    f"vibework.notifications.v1.{name}": case for name, case in NOTIFICATIONS.items()
}
