"""The MySQL schema's history: numbered Alembic revisions, run by ``users-service migrate``."""
