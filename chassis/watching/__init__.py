"""Streams that last: what the watches of both services share, whatever they watch."""
