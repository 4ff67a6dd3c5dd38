"""Exports: everything that is kept of one person in both services, and all users in the form that imports read."""
