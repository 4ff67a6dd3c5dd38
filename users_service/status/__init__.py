"""What the person on call wants to know of the MySQL server: ``users-service status`` and ``explain``."""
