"""The catalog of named statements: those that have an example, and those that have no plan, with the reason."""

from __future__ import annotations

from typing import Final

from chassis.commands.explain import Catalog
from users_service.explain import credential_examples as credentials
from users_service.explain import event_examples as events
from users_service.explain import examples, import_examples

EXAMPLES: Final = (
    *examples.USERS,
    *examples.SESSIONS,
    *examples.OUTBOX,
    *examples.COMMANDS,
    *events.EVENTS,
    *credentials.ACCOUNTS,
    *credentials.CREDENTIALS,
    *credentials.VERIFICATIONS,
    *credentials.ATTEMPTS,
    *credentials.IDEMPOTENCY,
    *import_examples.IMPORTS,
    *import_examples.EXPORTS,
)

# Statements that the example of another one sends.
TOGETHER: Final = {
    "idempotency.keep": "idempotency.claim",
}

WITHOUT_PLAN: Final = {
    "accounts.is_lost": "asks lookups, which Vitess alone has",
    "idempotency.lock": "is sent where Vitess has lost something",
    "accounts.estimate": "asks the server's own books",
    "sessions.estimate": "asks the server's own books",
    "mysql.meet": "asks what kind of server it is",
    "mysql.ping": "asks the server's own books for tables, columns and keys",
    "mysql.commit": "reads no table",
    "mysql.acquire": "reads no table",
    "mysql.database_now": "reads no table",
    "mysql.release": "reads no table",
    "replicas.position": "reads no table",
    "replicas.look": "reads no table",
    "replicas.reach": "reads no table",
}

CATALOG: Final = Catalog("statement", EXAMPLES, WITHOUT_PLAN, TOGETHER)
