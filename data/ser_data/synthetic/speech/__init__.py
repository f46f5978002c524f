"""Synthetic speech for demonstration and tests: espeak-ng in a child process, never in ours (it is GPL-3)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
