from .errors import PredictError as PredictError
from .recordings.pieces import Prediction as Prediction
from .recordings.predictor import Predictor as Predictor
