"""Evidently reports and the dashboard."""
