"""Connection pools: how much work runs on one at a time, and what happens when the caller of that work leaves."""
