"""The notifications service: every user's feed of notifications, kept in MongoDB."""
