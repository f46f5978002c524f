"""The feature cache: rows of frames under an utterance's id, safely on disk, read at the speed of memory.

Reading:  ``open_cache("cache").select(modality="audio", layer=12)[utterance_id]``
Writing:  ``create_cache("cache").writer(spec)``, then ``plan``, ``pending`` and ``commit`` (see `Writer`)

The format is written down in docs/reference/cache-format.md; the package imports neither torch nor the rest of SER Fusion.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
