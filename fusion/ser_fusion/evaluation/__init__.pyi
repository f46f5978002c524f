from .audit import audit_study as audit_study
from .comparison import compare_rows as compare_rows
from .metrics import score_fold as score_fold
from .metrics import summarise as summarise
from .references import reference_rows as reference_rows
from .run_metrics import evaluate_run as evaluate_run
