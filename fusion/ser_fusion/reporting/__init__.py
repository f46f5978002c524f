"""Shows what ``evaluation`` found: HTML, Markdown, LaTeX, CSV, plots, and tables in the terminal."""
