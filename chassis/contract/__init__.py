"""Rules of the contract that both services keep: field masks, page tokens, idempotency, ids, times."""
