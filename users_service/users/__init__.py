"""Users and their email addresses."""
