"""Databases and services as local processes: for script/server and for the tests."""
