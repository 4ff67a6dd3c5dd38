"""Preferences: what users want to be sent and when, and the categories it is told by (PreferenceService)."""
