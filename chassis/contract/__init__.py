"""Rules that every RPC of both services keeps: masks, page tokens, idempotency, ids, times."""
