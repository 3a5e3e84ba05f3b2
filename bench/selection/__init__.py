"""selection: measured."""
