"""Verifications: short codes and long tokens that prove control of an address."""
