"""A mixed load over every RPC that writes, which records what came of each call."""
