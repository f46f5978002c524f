from .errors import FusionError as FusionError
from .estimator import FusionClassifier as FusionClassifier
from .heads.model import load_model as load_model
from .runs.job import FuseJob as FuseJob
from .runs.run import run as run
from .study.open import Study as Study
from .study.open import open_study as open_study
