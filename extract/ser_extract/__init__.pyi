from .encoders import ENCODERS as ENCODERS
from .encoders.plugged import Encoder as Encoder
from .errors import ExtractError as ExtractError
from .job import ExtractJob as ExtractJob
from .run import Result as Result
from .run import run as run
