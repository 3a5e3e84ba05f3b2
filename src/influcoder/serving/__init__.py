"""Answers of the champion: for the command line, the page, and MLflow."""
