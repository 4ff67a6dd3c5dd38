"""Backing up the notifications' database and restoring it: a consistent snapshot in mongodump's form."""
