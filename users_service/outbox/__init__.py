"""The transactional outbox: calls to the other service that are made after a transaction has committed."""
