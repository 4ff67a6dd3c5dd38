"""Delivery: takes what is due from the outbox, decides, sends, and tells how it fared (DeliveryService)."""
