"""The local stack: servers on this machine, and processes that start quickly."""
