"""Rank agreement between an encoder's scores and exact influence, with intervals over queries.

This module imports nothing of ours but the errors: it is the ruler, and must not depend on what it measures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from influcoder.errors import ShapeError

Array = np.ndarray
MIN_CANDIDATES = 3
TOP_K = 10


@dataclass(frozen=True)
class Interval:
    """A figure and its percentile-bootstrap confidence interval.

    Args:
        value: the figure on all queries.
        lo: lower end; NaN where there are fewer than two usable queries.
        hi: upper end.
        queries: number of queries that the figure rests on.
    """

    value: float
    lo: float
    hi: float
    queries: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.lo:.3f}, {self.hi:.3f}] over {self.queries} queries"


@dataclass(frozen=True)
class Agreement:
    """How well a ranking follows the exact one.

    Args:
        rho: mean per-query Spearman ρ, the first figure.
        aggregated_rho: Spearman ρ of the candidates' means over queries.
        tau: mean per-query Kendall τ-b.
        precision: mean precision of the top k.
        ndcg: mean NDCG of the top k.
        per_query: ρ of each query, shape (queries,); NaN where it is undefined.
        candidates: number of candidates that each query ranks.
    """

    rho: Interval
    aggregated_rho: Interval
    tau: Interval
    precision: Interval
    ndcg: Interval
    per_query: Array
    candidates: int

    def figures(self) -> Mapping[str, Interval]:
        """Every figure by its name."""
        names = ("rho", "aggregated_rho", "tau", "precision", "ndcg")
        return {name: getattr(self, name) for name in names}


def agreement(scores: Array, labels: Array, k: int = TOP_K, resamples: int = 2000, seed: int = 0) -> Agreement:
    """All figures of agreement.

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape.
        k: how many candidates count as the top; a fifth of them at most.
        resamples: bootstrap resamples of the queries.
        seed: seed of the bootstrap.
    Raises:
        ShapeError: the shapes differ, or there are fewer than 3 candidates.
    """
    _check(scores, labels)
    k = max(1, min(k, labels.shape[1] // 5))
    per_query = per_query_spearman(scores, labels)
    ranked = np.isfinite(per_query)
    # Every figure rests on the queries that have a ranking at all.
    scores, labels = scores[ranked], labels[ranked]
    return Agreement(
        rho=mean_interval(per_query, resamples, seed),
        aggregated_rho=_aggregated_interval(scores, labels, resamples, seed),
        tau=mean_interval(_by_query(_tau, scores, labels), resamples, seed),
        precision=mean_interval(_by_query(lambda s, t: precision_at_k(s, t, k), scores, labels), resamples, seed),
        ndcg=mean_interval(_by_query(lambda s, t: ndcg_at_k(s, t, k), scores, labels), resamples, seed),
        per_query=per_query,
        candidates=labels.shape[1],
    )


def per_query_spearman(scores: Array, labels: Array) -> Array:
    """Spearman's ρ of each query's candidate ranking.

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape.
    Returns:
        ρ per query, shape (queries,); NaN where a row of either is constant or not finite.
    Raises:
        ShapeError: the shapes differ, or there are fewer than 3 candidates.
    """
    _check(scores, labels)
    usable = np.isfinite(scores).all(1) & np.isfinite(labels).all(1)
    left = _centred_ranks(np.where(usable[:, None], scores, 0.0))
    right = _centred_ranks(np.where(usable[:, None], labels, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (left * right).sum(1) / np.sqrt((left**2).sum(1) * (right**2).sum(1))
    return np.where(usable, rho, np.nan)


def aggregated_spearman(scores: Array, labels: Array) -> float:
    """Spearman's ρ of the candidates' mean scores over all queries; it flatters, see the design."""
    _check(scores, labels)
    return float(per_query_spearman(scores.mean(0, keepdims=True), labels.mean(0, keepdims=True))[0])


def precision_at_k(scores: Array, labels: Array, k: int) -> float:
    """Share of the k best candidates by label that are among the k best by score; shapes (candidates,)."""
    best = set(np.argsort(-labels, kind="stable")[:k])
    return len(best & set(np.argsort(-scores, kind="stable")[:k])) / k


def ndcg_at_k(scores: Array, labels: Array, k: int) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002, section 2.2).

    The gain of a candidate is its label above the smallest one, so that gains are not negative.
    """
    gains = labels - labels.min()
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = float((np.sort(gains)[::-1][:k] * discounts).sum())
    found = float((gains[np.argsort(-scores, kind="stable")[:k]] * discounts).sum())
    return found / ideal if ideal > 0 else float("nan")


def mean_interval(values: Array, resamples: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Mean of per-query values with a bootstrap interval that resamples queries; NaN values are left out."""
    usable = values[np.isfinite(values)]
    if len(usable) < 2:
        mean = float(usable[0]) if len(usable) else float("nan")
        return Interval(mean, float("nan"), float("nan"), len(usable))
    draws = np.random.default_rng(seed).integers(len(usable), size=(resamples, len(usable)))
    lo, hi = np.quantile(usable[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(usable.mean()), float(lo), float(hi), len(usable))


def paired_difference(left: Array, right: Array, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean of `left` minus `right` for per-query values of the same queries, both of shape (queries,)."""
    if left.shape != right.shape:
        raise ShapeError(f"paired values have the shapes {left.shape} and {right.shape}.")
    return mean_interval(left - right, resamples, seed)


def unpaired_difference(left: Array, right: Array, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean of `left` minus mean of `right` for per-query values of two independent sets of queries."""
    left, right = left[np.isfinite(left)], right[np.isfinite(right)]
    queries = min(len(left), len(right))
    if queries < 2:
        return Interval(float("nan"), float("nan"), float("nan"), queries)
    generator = np.random.default_rng(seed)
    draws_left = left[generator.integers(len(left), size=(resamples, len(left)))].mean(1)
    draws_right = right[generator.integers(len(right), size=(resamples, len(right)))].mean(1)
    lo, hi = np.quantile(draws_left - draws_right, [0.025, 0.975])
    return Interval(float(left.mean() - right.mean()), float(lo), float(hi), queries)


def _aggregated_interval(scores: Array, labels: Array, resamples: int, seed: int) -> Interval:
    queries = len(scores)
    if queries < 2:
        return Interval(float("nan"), float("nan"), float("nan"), queries)
    draws = np.random.default_rng(seed).integers(queries, size=(resamples, queries))
    weights = np.apply_along_axis(np.bincount, 1, draws, minlength=queries) / queries
    resampled = per_query_spearman(weights @ scores, weights @ labels)
    lo, hi = np.nanquantile(resampled, [0.025, 0.975])
    return Interval(aggregated_spearman(scores, labels), float(lo), float(hi), queries)


def _by_query(figure: Callable[[Array, Array], float], scores: Array, labels: Array) -> Array:
    return np.array([figure(s, t) for s, t in zip(scores, labels, strict=True)])


def _tau(scores: Array, labels: Array) -> float:
    return float(stats.kendalltau(scores, labels, variant="b").statistic)


def _centred_ranks(values: Array) -> Array:
    ranks = stats.rankdata(values, axis=1)
    return ranks - ranks.mean(1, keepdims=True)


def _check(scores: Array, labels: Array) -> None:
    if scores.shape != labels.shape or scores.ndim != 2:
        raise ShapeError(f"scores of shape {scores.shape} do not fit labels of shape {labels.shape}.")
    if labels.shape[1] < MIN_CANDIDATES:
        raise ShapeError(f"{labels.shape[1]} candidates can't be ranked.", f"Give {MIN_CANDIDATES} or more.")
