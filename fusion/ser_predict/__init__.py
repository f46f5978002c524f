"""Emotions of new recordings with the heads of a finished run: the one place where both stages meet.

It may import both stages; nobody imports it. ``Predictor`` is the Python face of the command ``ser predict``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
