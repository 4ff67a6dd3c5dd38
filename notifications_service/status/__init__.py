"""The status report on MongoDB, for the person on call: ``notifications-service status``."""
