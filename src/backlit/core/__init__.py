"""Floor 0: what a value and an op are."""
