"""The ``notifications-service`` command, and ``python -m notifications_service`` where that is not installed."""

from __future__ import annotations

from typing import NoReturn

from chassis.commands.entry import start


def main() -> NoReturn:
    """Run the command."""
    start("notifications_service")


if __name__ == "__main__":
    main()
