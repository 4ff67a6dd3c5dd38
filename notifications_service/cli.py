"""The ``notifications-service`` command; each of its commands has a module in ``notifications_service.commands``."""

from __future__ import annotations

from chassis.commands.cli import LazyGroup

main = LazyGroup(
    name="notifications-service",
    help="Notifications on MongoDB. Settings are read from the environment.",
    context_settings={"help_option_names": ["-h", "--help"]},
    places={
        "backup": "notifications_service.commands.backup:backup",
        "completion": "chassis.commands.completion:completion",
        "deliver": "notifications_service.commands.deliver:deliver",
        "deliveries": "notifications_service.commands.deliveries:deliveries",
        "email": "notifications_service.commands.email:email",
        "explain": "notifications_service.commands.explain:explain",
        "migrate": "notifications_service.commands.migrate:migrate",
        "policy": "notifications_service.commands.policy:policy",
        "purge": "notifications_service.commands.purge:purge",
        "restore": "notifications_service.commands.restore:restore",
        "rotate-keys": "notifications_service.commands.rotate_keys:rotate_keys",
        "seed": "notifications_service.commands.seed:seed_notifications",
        "serve": "notifications_service.commands.serve:serve",
        "status": "notifications_service.commands.status:status",
    },
)
