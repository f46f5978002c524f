"""Features between caches, object stores and the formats of other tools."""
