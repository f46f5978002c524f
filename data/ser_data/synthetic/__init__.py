"""Synthetic corpora in the shape of real ones, for tests and benchmarks. Nothing of the real ones is in them."""
