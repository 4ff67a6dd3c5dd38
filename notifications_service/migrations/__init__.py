"""Carrying out the numbered steps of ``migrations/mongodb``, one process at a time."""
