"""Backing up the users' database and restoring it: a consistent snapshot as SQL text, over the service's own driver."""
