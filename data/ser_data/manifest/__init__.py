"""The manifest: utterances, their columns, names, texts and labels, and the CSV files they stand in."""
