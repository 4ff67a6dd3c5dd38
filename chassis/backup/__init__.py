"""What the backups of both services share: the file, its manifest, its checksums, and the commands' options."""
