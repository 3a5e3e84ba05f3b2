"""From influence features to influence."""

import numpy as np

from influcoder.errors import ShapeError


def influence(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Exact influence of each candidate on each query: the cosine of their gradients.

    The published score (arXiv 2606.13668): the cosine of the loss gradients on a LoRA adapter.

    Args:
        queries: influence features, unit rows, shape (queries, dimensions).
        candidates: influence features, unit rows, shape (candidates, dimensions).
    Returns:
        scores between -1 and 1, shape (queries, candidates).
    Raises:
        ShapeError: the features have different dimensions.
    """
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1] != candidates.shape[1]:
        raise ShapeError(f"features of shapes {queries.shape} and {candidates.shape} can't be compared.")
    # Half precision is for storage; sums in it would lose what the labels differ by.
    return np.clip(queries.astype(np.float32) @ candidates.astype(np.float32).T, -1.0, 1.0)
