"""Servers as local processes on loopback: databases, both services, and a catcher of mails."""
