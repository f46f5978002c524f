"""Parts of SER Fusion that live in another package; the entry points in pyproject.toml make them known."""
