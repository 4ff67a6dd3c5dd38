"""Scheduled notifications: they wait, seen by id and in a list of their own, until their time comes."""
