import ser_base.catalog

from .base import Protocol as Protocol
from .folds import Fold as Fold
from .folds import Folds as Folds
from .folds import drop_seen_text as drop_seen_text
from .folds import seen_text as seen_text
from .folds import text_overlap as text_overlap
from .make import make_folds as make_folds

PROTOCOLS: ser_base.catalog.Catalog[Protocol]
