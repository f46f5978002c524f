"""Units of work: who encodes them, where, and what is said meanwhile."""
