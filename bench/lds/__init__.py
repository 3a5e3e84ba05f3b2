"""lds: measured."""
