"""Where a password is stored, and every statement on it."""
