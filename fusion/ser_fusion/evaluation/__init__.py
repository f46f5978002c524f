"""What a result is worth: metrics, reference rows, paired tests over speakers, leak audit.

Everything here works from predictions on disk; nothing here trains a head.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
