"""Adoption of another system's users: ``migrate up`` recognises its tables, checks every row, and copies them."""
