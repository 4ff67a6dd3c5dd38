"""Migrations of the MySQL schema from one revision to another."""
