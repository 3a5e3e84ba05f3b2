"""The command line: the door to everything, above every other layer."""

import os

# A terminal has one bar at a time, and it is ours; tqdm, which other libraries draw theirs with, reads this on import.
os.environ.setdefault("TQDM_DISABLE", "1")
