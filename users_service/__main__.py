"""``python -m users_service``: the ``users-service`` command where it is not installed."""

from users_service.cli import main

main(prog_name="users-service")
