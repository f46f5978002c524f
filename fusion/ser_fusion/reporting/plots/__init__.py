"""The report's plots: each a function from plain data to a matplotlib figure, drawn once for page and files."""
