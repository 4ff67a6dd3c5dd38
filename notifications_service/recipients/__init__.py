"""Recipients: a notification may be sent only to users that exist."""
