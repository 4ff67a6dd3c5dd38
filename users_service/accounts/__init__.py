"""Accounts: the ways in which a user signs in, with a password or at a provider."""
