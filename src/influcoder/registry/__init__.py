"""Encoder versions in MLflow, their aliases, and the journal of who moved them."""
