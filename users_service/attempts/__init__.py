"""Limits on attempts: how often an account or an address may try, counted in MySQL for all processes together."""
