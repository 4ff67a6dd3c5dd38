"""Suppressions: email addresses to which nothing is sent, whoever's they are."""
