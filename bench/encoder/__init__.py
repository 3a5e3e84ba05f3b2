"""encoder: measured."""
