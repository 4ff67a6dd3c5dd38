"""Numbered steps that make the MongoDB schema; each has ``up`` and ``down`` and is never changed once released."""
