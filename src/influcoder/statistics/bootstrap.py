"""Confidence intervals for agreement: both the queries and the candidates are a draw, and both are resampled.

Resampling queries alone makes intervals half as wide as they should be: all queries are ranked over the same
candidates, so an unlucky draw of candidates moves every query's ρ together. The pigeonhole bootstrap (Owen,
"The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007, section 3) draws rows and columns
independently; where queries and candidates are the same samples, one draw serves both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure and its percentile-bootstrap confidence interval.

    Args:
        value: the figure on all queries.
        lo: lower end; NaN where there are fewer than two usable queries.
        hi: upper end.
        queries: number of queries that the figure rests on.
        error: standard deviation of the figure over the draws; NaN where there are fewer than two usable queries.
    """

    value: float
    lo: float
    hi: float
    queries: int
    error: float = float("nan")

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.lo:.3f}, {self.hi:.3f}] over {self.queries} queries"


@dataclass(frozen=True)
class Draws:
    """How often each query and each candidate is drawn.

    Args:
        queries: shape (resamples, queries).
        candidates: shape (resamples, candidates).
    """

    queries: Array
    candidates: Array

    @staticmethod
    def of(shape: tuple[int, int], same: bool, resamples: int, seed: int) -> "Draws":
        """Draws with replacement.

        Args:
            shape: number of queries, and of candidates.
            same: whether both are the same samples in the same order.
            resamples: number of draws.
            seed: of the draws; like seeds and sizes give like draws, so that two encoders can be compared in pairs.
        """
        queries, candidates = shape
        generator = np.random.default_rng(seed)
        rows = generator.multinomial(queries, np.full(queries, 1 / queries), size=resamples)
        columns = (
            rows if same else generator.multinomial(candidates, np.full(candidates, 1 / candidates), size=resamples)
        )
        return Draws(rows, columns)


def resampled_correlation(left: Array, right: Array, weights: Array) -> Array:
    """Pearson's correlation of each row of two matrices under each draw of the columns.

    Ranks are given once, on all candidates, and not again in each draw.

    Args:
        left: ranks, shape (queries, candidates), NaN where a pair is not labelled.
        right: same.
        weights: how often each candidate is drawn, shape (resamples, candidates).
    Returns:
        shape (resamples, queries), NaN where a draw leaves nothing to correlate.
    """
    return _correlation(left, right, lambda values: weights @ values.T)


def rowwise_correlation(left: Array, right: Array, weights: Array) -> Array:
    """The same where each row has weights of its own: all of shape (rows, candidates), the result (rows,)."""
    return _correlation(left, right, lambda values: (weights * values).sum(1))


def _correlation(left: Array, right: Array, total: Callable[[Array], Array]) -> Array:
    """Correlation from weighted totals of each row."""
    mask = np.isfinite(left) & np.isfinite(right)
    x, y = np.where(mask, left, 0.0), np.where(mask, right, 0.0)
    # Centring first keeps the differences of large sums below from losing digits.
    count = np.maximum(mask.sum(1, keepdims=True), 1)
    x = np.where(mask, x - x.sum(1, keepdims=True) / count, 0.0)
    y = np.where(mask, y - y.sum(1, keepdims=True) / count, 0.0)
    weight = total(mask.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = total(x) / weight, total(y) / weight
        covariance = total(x * y) / weight - mean_x * mean_y
        spread_x = total(x * x) / weight - mean_x**2
        spread_y = total(y * y) / weight - mean_y**2
        rho = covariance / np.sqrt(spread_x * spread_y)
    return np.where((spread_x > 1e-9) & (spread_y > 1e-9), rho, np.nan)


def weighted_means(values: Array, weights: Array) -> Array:
    """Mean over queries in each draw; undefined values are left out.

    Args:
        values: shape (queries,) or (resamples, queries).
        weights: how often each query is drawn, shape (resamples, queries).
    Returns:
        shape (resamples,), NaN where nothing is defined.
    """
    defined = weights * np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (defined * np.where(np.isfinite(values), values, 0.0)).sum(1) / defined.sum(1)


def interval(value: float, draws: Array, queries: int) -> Interval:
    """A figure with the percentiles of its draws, shape (resamples,)."""
    defined = draws[np.isfinite(draws)]
    if queries < 2 or not len(defined):
        return Interval(value, float("nan"), float("nan"), queries)
    lo, hi = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(lo), float(hi), queries, float(defined.std()))
