"""Prefect flows: orchestration alone; the work is done by the library."""
