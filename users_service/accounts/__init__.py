"""The ways in which a user signs in: a password, and accounts at providers."""
