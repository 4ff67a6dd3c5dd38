"""Backup files of both services: the archive, its manifest and checksums, and the options of the commands."""
