"""Peers: calls to the other service."""
