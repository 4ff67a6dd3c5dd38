"""Stories of people and of what they are told: one caller does one thing after the other, through every other RPC."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from vibework.notifications.v1 import (
    DELIVERY_EVENT_HARD_BOUNCE,
    NOTIFICATION_MARK_READ,
    NOTIFICATION_MARK_SEEN,
    NOTIFICATION_TYPE_EMAIL,
    PREFERENCE_MODE_OFF,
    BatchCancelDeliveriesRequest,
    BatchCreateNotificationsRequest,
    BatchRetryDeliveriesRequest,
    Category,
    EmailContent,
    NotificationFilter,
    WebPushTarget,
)
from vibework.users.v1 import (
    VERIFICATION_PURPOSE_EMAIL_CHANGE,
    VERIFICATION_PURPOSE_PASSWORD_RESET,
    VERIFICATION_PURPOSE_SIGN_IN,
    AccountTokens,
    ClientContext,
    ImportedUser,
    ProviderAccount,
    SignInWithVerificationRequest,
)

from tests.contract.requests import A_POINT
from tests.harness.history.record import Removal
from tests.reliability.load.caller import Answer, Caller
from tests.reliability.load.objects import content_of, image_of, make_notification, make_secret, make_user, nonce_of

PASSWORD, ANOTHER = "correct horse battery", "another horse battery"
# What a browser gives of itself, made with the key of that name.
POINT: Final = base64.b64decode(A_POINT)
PUSH_KEY: Final = "k1"


async def a_person_signs_up_and_in(caller: Caller) -> None:
    """Somebody signs up, signs in, changes the password, and has it set."""
    nonce, email = caller.nonce(), f"{caller.nonce()}@example.com"
    answer = await caller.create(
        "users",
        "SessionService/SignUp",
        nonce,
        lambda made: [made.user.id],
        lambda made: [made.user.name, made.session.user_agent, nonce_of(made.user.image)],
        email=email,
        password=PASSWORD,
        name=nonce,
        image=image_of(nonce),
        client=ClientContext(user_agent=nonce),
    )
    if not answer.good:
        return
    user = answer.message.user
    caller.user_changed("created", user.id, user.etag)
    await _session(caller, "SessionService/SignIn", email=email, password=PASSWORD)
    await caller.call("AccountService/ChangePassword", user_id=user.id, current_password=PASSWORD, new_password=ANOTHER)
    await caller.call("AccountService/SetPassword", user_id=user.id, password=PASSWORD)


async def _session(caller: Caller, rpc: str, **given: Any) -> Answer:
    nonce = caller.nonce()
    return await caller.create(
        "sessions",
        rpc,
        nonce,
        lambda made: [made.session.id],
        lambda made: [made.session.user_agent],
        client=ClientContext(user_agent=nonce),
        **given,
    )


async def a_person_comes_by_a_provider(caller: Caller) -> None:
    """Somebody is created by the word of a provider, has another account linked, its tokens renewed, and unlinked."""
    nonce = caller.nonce()
    answer = await caller.create(
        "users",
        "AccountService/SignInWithAccount",
        nonce,
        lambda made: [made.user.id],
        lambda made: [nonce_of(made.user.image), made.account.account_id],
        account=ProviderAccount(provider="google", account_id=nonce, tokens=AccountTokens(access_token="token")),
        email=f"{nonce}@example.com",
        image=image_of(nonce),
    )
    if not answer.good:
        return
    user = answer.message.user
    caller.user_changed("created", user.id, user.etag)
    other = caller.nonce()
    linked = await caller.create(
        "accounts",
        "AccountService/LinkAccount",
        other,
        lambda made: [made.account.id],
        lambda made: [made.account.account_id],
        user_id=user.id,
        account=ProviderAccount(provider="github", account_id=other, tokens=AccountTokens(access_token="token")),
    )
    if linked.good:
        account = linked.message.account
        tokens = AccountTokens(access_token="another")
        await caller.call(
            "AccountService/UpdateAccountTokens", user_id=user.id, id=account.id, tokens=tokens, etag=account.etag
        )
        await caller.remove("accounts", account.id, "AccountService/UnlinkAccount", user_id=user.id, id=account.id)


async def a_person_proves_an_address(caller: Caller) -> None:
    """Somebody verifies an address, changes it, resets the password, and signs in by a secret; each used twice."""
    user, _ = await make_user(caller)
    if user is None:
        return
    secret = await make_secret(caller, user.email)
    if secret is not None:
        verified = await secret.used_at_once("VerificationService/VerifyEmail")
        if verified.good:
            caller.user_changed("changed", user.id, verified.message.user.etag)
    address = f"{caller.nonce()}@example.com"
    secret = await make_secret(caller, address, VERIFICATION_PURPOSE_EMAIL_CHANGE, user_id=user.id)
    if secret is None:
        return
    changed = await secret.used_at_once("VerificationService/ChangeEmail", user_id=user.id)
    if not changed.good:
        return
    caller.user_changed("changed", user.id, changed.message.user.etag)
    secret = await make_secret(caller, address, VERIFICATION_PURPOSE_PASSWORD_RESET)
    if secret is not None:
        await secret.used_at_once("VerificationService/ResetPassword", new_password=PASSWORD)


async def a_person_comes_by_a_secret(caller: Caller) -> None:
    """Somebody whom nobody knew is created by the use of a secret."""
    nonce = caller.nonce()
    secret = await make_secret(caller, f"{nonce}@example.com", VERIFICATION_PURPOSE_SIGN_IN)
    if secret is None:
        return
    new = SignInWithVerificationRequest.NewUser(name=nonce, image=image_of(nonce))
    answer = await secret.used_by("VerificationService/SignInWithVerification", new_user=new)
    if answer.good:
        caller.user_changed("created", answer.message.user.id, answer.message.user.etag)


async def a_person_is_kept_out_and_goes(caller: Caller) -> None:
    """A user is disabled, enabled, and deleted with the notifications."""
    user, _ = await make_user(caller)
    if user is None:
        return
    notification, _ = await make_notification(caller, user.id)
    for rpc, kind in (("UserService/DisableUser", "disabled"), ("UserService/EnableUser", "enabled")):
        answer = await caller.call(rpc, id=user.id)
        if answer.good and answer.message.user.etag != user.etag:
            user = answer.message.user
            # One that repeats its calls may be told of what another of its attempts has done.
            caller.user_changed(kind, user.id, user.etag)
    answer = await caller.remove("users", user.id, "UserService/DeleteUser", id=user.id)
    if answer.good:
        caller.user_changed("deleted", user.id)
    if notification is not None:
        caller.history.removals.append(Removal("notifications", notification.id, known=answer.good))
    caller.history.removals.append(Removal("notifications of users", user.id, known=answer.good))


async def people_are_imported(caller: Caller) -> None:
    """Two users come with their ids; a repetition finds them there."""
    nonces = [caller.nonce(), caller.nonce()]
    people = [
        ImportedUser(id=f"imported_{each}", email=f"{each}@example.com", name=each, image=image_of(each))
        for each in nonces
    ]
    await caller.call("UserService/ImportUsers", users=people)


async def notifications_come_in_batches(caller: Caller) -> None:
    """Notifications for two users come at once, are marked, and one is deleted."""
    users = sorted(caller.feed_streams)
    nonce = caller.nonce()
    fan_out = BatchCreateNotificationsRequest.FanOut(user_ids=users, content=content_of(nonce))
    answer = await caller.create(
        "notifications",
        "NotificationService/BatchCreateNotifications",
        nonce,
        lambda made: [each.id for each in made.notifications],
        lambda made: [each.thread_key for each in made.notifications],
        rows=len(users),
        fan_out=fan_out,
    )
    if not answer.good:
        return
    made = list(answer.message.notifications)
    for each in made:
        caller.feed_changed("created", each.user_id, each.id, each.etag)
    first = made[0]
    await caller.call(
        "NotificationService/MarkNotifications", user_id=first.user_id, ids=[first.id], mark=NOTIFICATION_MARK_READ
    )
    # These alone: others look at the etags of the rest.
    these = NotificationFilter(thread_keys=[nonce])
    rpc = "NotificationService/MarkAllNotifications"
    await caller.call(rpc, user_id=first.user_id, filter=these, mark=NOTIFICATION_MARK_SEEN)
    rpc = "NotificationService/DeleteNotification"
    answer = await caller.remove("notifications", first.id, rpc, id=first.id)
    if answer.good:
        caller.feed_changed("deleted", first.user_id, first.id)


async def a_feed_is_emptied(caller: Caller) -> None:
    """All notifications of a user are deleted."""
    user, _ = await make_user(caller)
    made = await make_notification(caller, user.id) if user else (None, None)
    if user is None or made[0] is None:
        return
    rpc = "NotificationService/DeleteUserNotifications"
    await caller.remove("notifications", made[0].id, rpc, user_id=user.id)


async def mails_are_sent_and_steered(caller: Caller) -> None:
    """Mails are queued, cancelled and tried again by hand, one by one and several at once."""
    ids = [each for _ in range(2) if (each := await _mail(caller))]
    for each in ids:
        await caller.call("DeliveryService/CancelDelivery", id=each)
        await caller.call("DeliveryService/RetryDelivery", id=each)
    if ids:
        cancelled = BatchCancelDeliveriesRequest.Ids(ids=ids)
        await caller.call("DeliveryService/BatchCancelDeliveries", ids=cancelled)
        await caller.call("DeliveryService/BatchRetryDeliveries", ids=BatchRetryDeliveriesRequest.Ids(ids=ids))


async def _mail(caller: Caller) -> str:
    nonce = caller.nonce()
    # By the millisecond of its end a row is known: all else that is given lies sealed there.
    ends = datetime.fromtimestamp(int(time.time()) + 3_600, UTC) + timedelta(milliseconds=caller.numbers % 1_000)
    answer = await caller.create(
        "deliveries",
        "DeliveryService/SendDirect",
        f"{round(ends.timestamp() * 1_000)}",
        lambda made: [made.delivery.id],
        lambda _: [],
        email_address=f"{nonce}@example.com",
        email=EmailContent(subject=nonce, text="text"),
        expires_at=ends,
    )
    return str(answer.message.delivery.id) if answer.good else ""


async def an_address_bounces(caller: Caller) -> None:
    """An address bounces and is freed again."""
    address = f"{caller.nonce()}@example.com"
    rpc = "DeliveryService/ReportDeliveryEvent"
    await caller.call(rpc, email_address=address, event=DELIVERY_EVENT_HARD_BOUNCE)
    await caller.call("DeliveryService/DeleteSuppression", email_address=address, allow_missing=True)


async def somebody_chooses(caller: Caller) -> None:
    """Somebody switches mails off, unsubscribes, and registers a browser for a while; a category comes and goes."""
    nonce = caller.nonce()
    user, _ = await make_user(caller)
    if user is None:
        return
    user_id = user.id
    await caller.call(
        "PreferenceService/SetPreference", user_id=user_id, channel=NOTIFICATION_TYPE_EMAIL, mode=PREFERENCE_MODE_OFF
    )
    # Any token is answered alike; one that works is made only for a mail.
    await caller.call("PreferenceService/Unsubscribe", token="x")
    await caller.call("PreferenceService/PutCategory", category=Category(name=nonce, title="News"))
    await caller.call("PreferenceService/DeleteCategory", name=nonce, allow_missing=True)
    target = WebPushTarget(endpoint=f"https://push.example.com/{nonce}", p256dh=POINT, auth=bytes(16), key_id=PUSH_KEY)
    answer = await caller.create(
        "push subscriptions",
        "PreferenceService/RegisterPushSubscription",
        nonce,
        lambda made: [made.subscription.id],
        lambda made: [made.subscription.user_agent],
        user_id=user_id,
        web_push=target,
        user_agent=nonce,
    )
    if answer.good:
        id_ = answer.message.subscription.id
        rpc = "PreferenceService/DeletePushSubscription"
        await caller.remove("push subscriptions", id_, rpc, user_id=user_id, id=id_)
