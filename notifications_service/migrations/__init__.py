"""Migrations of the MongoDB schema: the numbered steps of ``migrations/mongodb``."""
