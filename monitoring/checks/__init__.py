"""Checks: spot labels, what is measured on them, the drift decision, and its record."""
