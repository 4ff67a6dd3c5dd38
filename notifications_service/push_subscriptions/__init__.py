"""Where users' push messages go: the subscriptions of their browsers, and the keys that those were made with."""
