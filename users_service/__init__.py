"""The users service: users, sessions, accounts and verifications, kept in MySQL."""
