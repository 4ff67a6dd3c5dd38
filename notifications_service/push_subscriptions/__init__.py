"""Push subscriptions: where users' messages go, and the keys that they were made with."""
