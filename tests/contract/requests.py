"""A well-formed request for every RPC, and what a server without any rows answers to it."""

from __future__ import annotations

from typing import Any, Final

NOBODY: Final = "user_01jd0000000000000000000000"
NO_NOTIFICATION: Final = "0123456789abcdef01234567"
PASSWORD: Final = "correct horse battery"
PROVIDER: Final = {"provider": "google", "accountId": "1"}
SECRET: Final = {"code": {"identifier": "ann@example.com", "code": "123456"}}
CONTENT: Final = {"title": "Hello", "message": "x", "type": "NOTIFICATION_TYPE_IN_APP"}

# RPC: (request in JSON, reason of the error or "" for OK). Whoever builds an RPC that is NOT_IMPLEMENTED here changes
# its line. Requests that would create something come last.
USERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "UserService/GetUser": ({"id": NOBODY}, "USER_NOT_FOUND"),
    "UserService/BatchGetUsers": ({"ids": [NOBODY]}, ""),
    "UserService/ListUsers": ({}, ""),
    "UserService/CountUsers": ({}, ""),
    "UserService/UpdateUser": ({"id": NOBODY, "name": "Ann", "updateMask": "name"}, "USER_NOT_FOUND"),
    "UserService/DeleteUser": ({"id": NOBODY}, "USER_NOT_FOUND"),
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
        {"id": NO_NOTIFICATION, "title": "Hi", "updateMask": "title"},
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
    "DeliveryService/GetDelivery": ({"notificationId": NO_NOTIFICATION}, "NOT_IMPLEMENTED"),
    "DeliveryService/ListDeliveries": ({}, "NOT_IMPLEMENTED"),
    "DeliveryService/CancelDelivery": ({"notificationId": NO_NOTIFICATION}, "NOT_IMPLEMENTED"),
    "DeliveryService/RetryDelivery": ({"notificationId": NO_NOTIFICATION}, "NOT_IMPLEMENTED"),
    "PreferenceService/GetPreferences": ({"userId": NOBODY}, "NOT_IMPLEMENTED"),
    "PreferenceService/UpdatePreferences": ({"userId": NOBODY, "updateMask": "channels"}, "NOT_IMPLEMENTED"),
    "PreferenceService/RegisterPushSubscription": (
        {"userId": NOBODY, "endpoint": "https://push.example.com/1", "p256dh": "BA" * 43 + "A=", "auth": "A" * 22},
        "NOT_IMPLEMENTED",
    ),
    "PreferenceService/ListPushSubscriptions": ({"userId": NOBODY}, "NOT_IMPLEMENTED"),
    "PreferenceService/DeletePushSubscription": ({"userId": NOBODY, "id": "push_x"}, "NOT_IMPLEMENTED"),
    "NotificationService/CreateNotification": ({"userId": NOBODY, **CONTENT}, ""),
    "NotificationService/BatchCreateNotifications": ({"fanOut": {"userIds": [NOBODY], "content": CONTENT}}, ""),
}
