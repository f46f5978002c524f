"""Stage two: fusion heads on cached features, trained fold by fold and judged."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
