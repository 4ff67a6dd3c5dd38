"""Read replicas: reads from servers that have caught up with the primary (docs/decisions/0043)."""
