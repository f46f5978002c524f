from .encoders import ENCODERS as ENCODERS
from .errors import ExtractError as ExtractError
from .job import ExtractJob as ExtractJob
from .run import Result as Result
from .run import run as run
