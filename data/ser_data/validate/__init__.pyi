from .findings import Finding as Finding
from .run import Report as Report
from .run import validate as validate
