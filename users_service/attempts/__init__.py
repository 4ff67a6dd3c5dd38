"""Rate limits on attempts of an account or a client address, counted in MySQL for all processes together."""
