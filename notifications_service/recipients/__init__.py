"""Who may be sent a notification: users that exist."""
