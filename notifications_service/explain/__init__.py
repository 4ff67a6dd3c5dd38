"""How the server would carry out each named command: repositories as they are, on a database that explains."""
