"""Notifications: their document, states, filters, retention and message."""
