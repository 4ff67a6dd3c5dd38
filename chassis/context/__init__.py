"""Context of the current work: its call, the time it has left, its span, and the name of its statement."""
