"""Seed data: made-up users with all their records, to try things out on a full database."""
