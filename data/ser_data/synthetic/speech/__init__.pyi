from .synthesis import Line as Line
from .synthesis import SpeechError as SpeechError
from .synthesis import synthesise as synthesise
