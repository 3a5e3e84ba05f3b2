"""Is the champion still right? Agreement checks, the drift decision, the promotion gate, Evidently reports."""

import os

# Set before anything imports Evidently.
os.environ.setdefault("DO_NOT_TRACK", "1")
