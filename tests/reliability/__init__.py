"""The fault suite: the pair under load and faults, and what it must come to (`script/fault`)."""
