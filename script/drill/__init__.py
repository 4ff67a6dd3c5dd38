"""Proves that a backup taken while the services are written to holds what it must, and nothing half."""
