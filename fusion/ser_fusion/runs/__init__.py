"""From a job to a judged run directory: plan, prepare, train, record."""
