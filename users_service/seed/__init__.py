"""Made-up users with all that belongs to them, for trying things out on a full database."""
