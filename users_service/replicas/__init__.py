"""Reads from replicas that show what the primary would: see docs/decisions/0043."""
