"""Influcoder: cheap, checked data attribution for language models."""

__version__ = "0.1.0"
