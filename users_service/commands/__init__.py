"""The commands of ``users-service``, one module each, imported when asked for."""
