"""Measurements; tables and plots go to bench/results."""
