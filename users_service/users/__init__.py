"""Users: who exists, under which address."""
