"""Made-up notifications for the users that there are, for trying things out on a full feed."""
