"""Verify, repair, collect garbage, remove."""
