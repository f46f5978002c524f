"""docs/reference/cache-format.md in code, section by section."""
