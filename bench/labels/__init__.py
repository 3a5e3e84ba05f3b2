"""labels: measured."""
