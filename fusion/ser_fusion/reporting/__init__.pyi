from .report import write_report as write_report
from .terminal import result_table as result_table
