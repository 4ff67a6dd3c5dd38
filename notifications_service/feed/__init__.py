"""The feed: creating, reading, counting, marking and deleting notifications."""
