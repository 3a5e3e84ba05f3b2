"""filter: measured."""
