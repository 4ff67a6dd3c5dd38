"""Bringing the schema of a MySQL database to a revision."""
