"""Credentials: stored passwords, and every statement on them."""
