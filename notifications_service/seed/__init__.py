"""Seed data: made-up notifications for existing users, to try things out on a full feed."""
