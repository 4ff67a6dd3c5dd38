"""The ``users-service`` command; each of its commands has a module in ``users_service.commands``."""

from __future__ import annotations

from chassis.commands.cli import LazyGroup

main = LazyGroup(
    name="users-service",
    help="Users, sessions, accounts and verifications on MySQL. Settings are read from the environment.",
    context_settings={"help_option_names": ["-h", "--help"]},
    places={
        "backup": "users_service.commands.backup:backup",
        "completion": "chassis.commands.completion:completion",
        "explain": "users_service.commands.explain:explain",
        "export": "users_service.commands.export:export",
        "import": "users_service.commands.import_users:import_users",
        "migrate": "users_service.commands.migrate:migrate",
        "outbox": "users_service.commands.outbox:outbox",
        "policy": "users_service.commands.policy:policy",
        "purge": "users_service.commands.purge:purge",
        "restore": "users_service.commands.restore:restore",
        "revoke-sessions": "users_service.commands.revoke_sessions:revoke_sessions",
        "rotate-keys": "users_service.commands.rotate_keys:rotate_keys",
        "seed": "users_service.commands.seed:seed_users",
        "serve": "users_service.commands.serve:serve",
        "status": "users_service.commands.status:status",
        "user": "users_service.commands.user:user",
    },
)
