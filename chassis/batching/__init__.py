"""Request coalescing: calls that ask at the same time share one database query."""
