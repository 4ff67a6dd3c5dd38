"""Proof that somebody controls an address: short codes and long tokens."""
