"""How the server would carry out each named statement: repositories as they are, on a connection that explains."""
