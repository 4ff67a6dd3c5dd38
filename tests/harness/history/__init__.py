"""Histories of calls, and checks of them. Nothing here does I/O: a load records, a check judges what was recorded."""
