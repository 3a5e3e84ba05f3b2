"""Prefect flows: orchestration alone; the work is done by the library."""

import logging

# Prefect takes the library's loggers over (PREFECT_LOGGING_EXTRA_LOGGERS) but leaves their level at warnings.
for _name in ("influcoder", "monitoring"):
    logging.getLogger(_name).setLevel(logging.INFO)
