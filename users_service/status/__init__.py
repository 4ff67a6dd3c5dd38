"""The status report on the MySQL server, for the person on call: ``users-service status``."""
