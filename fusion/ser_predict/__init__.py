"""Emotions of new recordings with the heads of a finished run: the one place where both stages meet.

It imports both stages, and neither stage imports it. ``Predictor`` is ``ser predict`` in Python.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
