"""The commands of ``notifications-service``, one module each, imported when asked for."""
