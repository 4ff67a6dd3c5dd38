"""Work on a pool of connections: how much at a time, and what becomes of it when its caller leaves."""
