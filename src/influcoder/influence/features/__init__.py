"""Influence features: per-sample gradients, projected, normalised and cached."""
