"""drift: measured."""
