"""The work at hand: the call it belongs to, the time it has left, its span, the statement it carries out."""
