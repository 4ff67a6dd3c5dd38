"""Imports: users of other systems come in with their past, each whole or not at all."""
