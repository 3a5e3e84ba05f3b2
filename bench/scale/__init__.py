"""scale: measured."""
