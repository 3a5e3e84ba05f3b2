"""gpu: measured."""
