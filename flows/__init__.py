"""Prefect flows: orchestration alone; the work is done by the library."""

import logging
import os

# Where a flow runs, bars of other libraries would tear through its log; tqdm reads this on import.
os.environ.setdefault("TQDM_DISABLE", "1")

# Prefect takes the library's loggers over (PREFECT_LOGGING_EXTRA_LOGGERS) but leaves their level at warnings.
for _name in ("influcoder", "monitoring"):
    logging.getLogger(_name).setLevel(logging.INFO)
