"""What the person on call wants to know of MongoDB: ``notifications-service status`` and ``explain``."""
