"""Synthetic corpora in the shape of real ones, for tests and benchmarks. Nothing of the real ones is in them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
