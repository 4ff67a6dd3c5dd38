"""Sessions: signing in and out, and the tokens that prove it."""
