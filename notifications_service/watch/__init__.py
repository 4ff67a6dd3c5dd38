"""WatchNotifications: one change stream per process feeds every watcher (docs/decisions/0020-watch.md)."""
