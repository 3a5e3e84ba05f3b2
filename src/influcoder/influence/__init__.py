"""Exact influence: per-sample gradients on a LoRA adapter, projected and normalised.

Nothing is imported here: the teacher's settings are needed by every command, torch by few of them.
"""
