"""Passwords: hashing off the event loop, formats of imported hashes, and where a user's hash is stored."""
