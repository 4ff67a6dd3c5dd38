"""What the console commands of both services share."""
