"""index: measured."""
