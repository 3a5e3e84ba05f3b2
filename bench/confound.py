"""Rank agreement with something held constant: what is left of it once candidates' lengths are accounted for.

This module imports nothing of ours but the errors, like the ruler beside it.
"""

import numpy as np
from scipy import stats

from influcoder.core.errors import ShapeError

Array = np.ndarray


def partial_spearman(scores: Array, labels: Array, held: Array) -> Array:
    """Spearman's ρ of each query's candidate ranking with covariates of the candidates held constant.

    The correlation of what is left of the ranks of scores and of labels after a linear regression of each on the
    ranks of the covariates (Kendall and Stuart, The Advanced Theory of Statistics, volume 2, section 27.5, on ranks).

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape; NaN where a pair is not labelled.
        held: covariates, shape (candidates, covariates).
    Returns:
        partial ρ per query over its labelled pairs, shape (queries,); NaN where the covariates alone fix either
        ranking, or where there are too few pairs to tell.
    Raises:
        ShapeError: the shapes do not fit.
    """
    if scores.shape != labels.shape or scores.ndim != 2 or held.ndim != 2 or len(held) != scores.shape[1]:
        raise ShapeError(f"scores of shape {scores.shape}, labels {labels.shape}, covariates {held.shape}.")
    return np.array([_partial(s, t, held) for s, t in zip(scores, labels, strict=True)])


def _partial(scores: Array, labels: Array, held: Array) -> float:
    known = np.isfinite(labels)
    if known.sum() < held.shape[1] + 3 or not np.isfinite(scores[known]).all():
        return float("nan")
    ranks = stats.rankdata(np.column_stack([scores[known], labels[known], held[known]]), axis=0)
    ranks -= ranks.mean(axis=0)
    covariates = ranks[:, 2:]
    left = ranks[:, :2] - covariates @ np.linalg.lstsq(covariates, ranks[:, :2], rcond=None)[0]
    lengths = np.linalg.norm(left, axis=0)
    # What rounding leaves of a ranking that the covariates fix is noise, not zero.
    if (lengths <= 1e-9 * np.linalg.norm(ranks[:, :2], axis=0).max()).any():
        return float("nan")
    return float(left[:, 0] @ left[:, 1] / lengths.prod())
