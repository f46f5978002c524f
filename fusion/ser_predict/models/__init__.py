"""Trained heads as they are used: where they come from, how they are averaged, what they are worth."""
