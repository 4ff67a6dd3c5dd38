"""The outbox: one row for each message on its way by email or push, written with what it carries."""
