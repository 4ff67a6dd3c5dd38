"""WatchUsers: one loop of each process reads for all its watchers (docs/decisions/0096-watching-users.md)."""
