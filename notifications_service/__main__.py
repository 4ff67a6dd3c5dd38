"""``python -m notifications_service`` is ``notifications-service``."""

from notifications_service.cli import main

if __name__ == "__main__":
    main()
