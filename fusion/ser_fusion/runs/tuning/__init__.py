"""Nested search for a row's settings (``--tune N``): the space as data, inner folds, the search, its summary."""
