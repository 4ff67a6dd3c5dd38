"""The composition root of the users service: the only place that wires its parts together."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any, NoReturn

from chassis.background import running
from chassis.clock import Clock, utc_now
from chassis.contract.keyset import by_time_and_id
from chassis.contract.pagetokens import PageTokens
from chassis.keyring import Keyring
from chassis.serving.lifecycle import Scope
from chassis.serving.registration import Registration
from chassis.serving.server import Server, build_server
from chassis.slices import Slices
from chassis.telemetry.start import Telemetry
from chassis.telemetry.start import start as start_telemetry
from users_service import unbuilt
from users_service.accounts import assembly as accounts
from users_service.accounts.halves import is_lost
from users_service.attempts.limiter import Attempts
from users_service.credentials import repository as credentials
from users_service.exports import assembly as exports
from users_service.idempotency import Idempotency
from users_service.imports import assembly as imports
from users_service.mysql.assembly import open_database, ping_anew
from users_service.mysql.database_clock import DatabaseClock, database_now
from users_service.outbox.assembly import open_relay
from users_service.outbox.model import SEND_VERIFICATION
from users_service.outbox.notices import Notices
from users_service.outbox.proved_addresses import ProvedAddresses
from users_service.outbox.relay import Relay
from users_service.outbox.settings import notices_of
from users_service.parts import Parts
from users_service.passwords.assembly import open_passwords
from users_service.purge.assembly import purging
from users_service.replicas.assembly import open_reads
from users_service.sessions import assembly as sessions
from users_service.sessions.repository import end_of_disabled
from users_service.settings import Settings
from users_service.users import assembly as users
from users_service.users.reads import UserReads
from users_service.verifications import assembly as verifications
from users_service.verifications.repository import void
from users_service.verifications.sending import SecretMails
from users_service.watch.assembly import open_watches


async def build(
    settings: Settings, scope: Scope, *, clock: Clock = utc_now, database_clock: DatabaseClock = database_now
) -> Server:
    """Put the server together; what it opens is closed by ``scope``, newest first."""
    telemetry = await start_telemetry(settings, "users-service", scope)
    parts = await _parts(settings, scope, telemetry, clock, database_clock)
    mails = verifications.new_mails(parts, settings.verification_urls, reachable=settings.sends_notifications)
    relay = await open_relay(
        settings,
        parts.database,
        clock,
        scope,
        telemetry,
        handlers_of_features=lambda client: {SEND_VERIFICATION: verifications.courier(parts, mails, client)},
    )
    reads = UserReads(parts.database, parts.slices)
    services = (
        *_services(settings, parts, reads, relay, mails),
        await exports.assemble(settings, parts, reads, scope, telemetry.interceptors),
        await open_watches(settings, parts, scope, telemetry.registry),
    )
    await scope.resources.enter_async_context(running(*_background(settings, parts, relay)))
    server = build_server(
        settings,
        services,
        probe=parts.database.ping,
        fresh=partial(ping_anew, settings),
        draining=scope.draining,
        observers=telemetry.observers,
        begin=telemetry.begin,
        unbuilt_fields=unbuilt.FIELDS,
    )
    return telemetry.of_server(server)


async def _parts(
    settings: Settings, scope: Scope, telemetry: Telemetry, clock: Clock, database_clock: DatabaseClock
) -> Parts:
    database = await open_database(settings, scope, telemetry)
    keyring = Keyring.parse(settings.secret_keys.get_secret_value())
    return Parts(
        database=database,
        passwords=open_passwords(settings, scope, telemetry.registry),
        # Nobody hands them over where there is no notifications service.
        notices=Notices(notices_of(settings.notices) if settings.sends_notifications else ()),
        proved_addresses=ProvedAddresses(reachable=settings.sends_notifications),
        query=await open_reads(settings, database, scope, telemetry.registry),
        keyring=keyring,
        idempotency=Idempotency(database, keyring, clock, is_lost),
        pages=by_time_and_id(PageTokens(keyring)),
        clock=clock,
        database_clock=database_clock,
        slices=Slices(),
        stopping=scope.draining.is_set,
    )


def _services(
    settings: Settings, parts: Parts, reads: UserReads, relay: Relay, mails: SecretMails
) -> tuple[Registration, ...]:
    attempts = Attempts.of(parts.database, parts.keyring, settings)
    admission = sessions.new_admission(parts)
    session_service = sessions.new_service(parts, admission, reads)
    return (
        users.assemble(
            parts,
            reads,
            on_deleted=relay.wake,
            store_password=credentials.store,
            void_proofs=void,
            end_sessions=end_of_disabled,
        ),
        sessions.assemble(parts, session_service, admission, attempts),
        accounts.assemble(parts, session_service, attempts, void),
        verifications.assemble(parts, attempts, mails, relay.wake),
        imports.assemble(parts),
    )


def _background(settings: Settings, parts: Parts, relay: Relay) -> list[Coroutine[Any, Any, NoReturn]]:
    """Return the endless work beside the calls."""
    loops = []
    if settings.sends_notifications:
        loops.append(relay.run())
    if settings.purge_interval_ms:
        loops.append(purging(settings, parts.database, parts.database_clock))
    return loops
