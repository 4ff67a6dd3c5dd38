"""One database query for many calls that ask at the same time."""
