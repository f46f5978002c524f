"""Does a copy of a corpus hold what was published, and nothing that would spoil results?"""

from ser_data.validate.checks import Finding
from ser_data.validate.run import Report, validate

__all__ = ["Finding", "Report", "validate"]
