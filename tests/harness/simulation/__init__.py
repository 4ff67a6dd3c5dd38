"""Deterministic simulation: real code on a loop with virtual time, whose order of wake-ups is drawn from a seed."""
