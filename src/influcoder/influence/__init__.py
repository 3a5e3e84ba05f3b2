"""Exact influence: per-sample gradients on a LoRA adapter, projected and normalised."""

from influcoder.influence.gradients import Features, extract_features
from influcoder.influence.scores import influence
from influcoder.influence.teacher import Teacher

__all__ = ["Features", "Teacher", "extract_features", "influence"]
