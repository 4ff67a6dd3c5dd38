"""Starts the databases and servers that every kind of test runs against."""
