"""Push subscriptions: the places that receive users' push messages."""
