from .base import Protocol as Protocol
from .folds import Fold as Fold
from .folds import Folds as Folds
from .make import make_folds as make_folds
from .overlap import drop_seen_text as drop_seen_text
from .overlap import seen_text as seen_text
from .overlap import text_overlap as text_overlap
from .table import PROTOCOLS as PROTOCOLS
