"""Calls to the other service that a committed transaction left to be made."""
