"""From influence features to influence."""

import numpy as np

from influcoder.errors import ShapeError
from influcoder.influence.cache import FeatureTable
from influcoder.influence.teacher import TeacherSpec


def exact_influence(spec: TeacherSpec, queries: FeatureTable, candidates: FeatureTable) -> np.ndarray:
    """Exact influence of each candidate on each query, as a teacher defines it.

    `gradient-cosine`: the cosine of the loss gradients, the published default (arXiv 2606.13668).
    `gradient-dot`: their dot product, the first-order change of the query's loss when a gradient step is taken on
    the candidate (TracIn, arXiv 2002.08484, section 3, for one checkpoint and a learning rate of 1).

    Args:
        spec: the teacher's specification.
        queries: features of the queries.
        candidates: features of the candidates.
    Returns:
        scores, shape (queries, candidates).
    Raises:
        ShapeError: the features have different dimensions.
    """
    cosines = influence(queries.vectors, candidates.vectors)
    if spec.method == "gradient-dot":
        return cosines * queries.norms[:, None] * candidates.norms[None, :]
    return cosines


def influence(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Cosine of the gradients of each query and each candidate.

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
