"""Removing rows that have ended."""
