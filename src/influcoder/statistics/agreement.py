"""Rank agreement between an encoder's scores and exact influence, with intervals over queries.

This module imports nothing of ours but its bootstrap and the errors: it is the ruler, and must not depend on what
it measures. A label of NaN is a pair that is not labelled; a square whose diagonal is not labelled is one set of
samples against itself, each a query that ranks all the others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from influcoder.core.errors import ShapeError
from influcoder.statistics.bootstrap import (
    Draws,
    Interval,
    interval,
    resampled_correlation,
    rowwise_correlation,
    weighted_means,
)

Array = np.ndarray
MIN_CANDIDATES = 3
TOP_K = 10


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
        resampled: ρ of each query in each draw of the bootstrap, shape (resamples, queries).
        draws: the draws behind it.
    """

    rho: Interval
    aggregated_rho: Interval
    tau: Interval
    precision: Interval
    ndcg: Interval
    per_query: Array
    candidates: int
    resampled: Array
    draws: Draws

    def figures(self) -> Mapping[str, Interval]:
        """Every figure by its name."""
        names = ("rho", "aggregated_rho", "tau", "precision", "ndcg")
        return {name: getattr(self, name) for name in names}


def agreement(scores: Array, labels: Array, k: int = TOP_K, resamples: int = 2000, seed: int = 0) -> Agreement:
    """All figures of agreement.

    The intervals of ρ and of aggregated ρ resample queries and candidates; those of the other figures resample
    queries alone, and are too narrow.

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape; NaN where a pair is not labelled.
        k: how many candidates count as the top; a fifth of them at most.
        resamples: bootstrap resamples.
        seed: seed of the bootstrap.
    Raises:
        ShapeError: the shapes differ, or there are fewer than 3 candidates.
    """
    ranks = _ranks(scores, labels)
    k = max(1, min(k, labels.shape[1] // 5))
    per_query = _spearman(scores, labels, ranks)
    draws = Draws.of((labels.shape[0], labels.shape[1]), is_square(labels), resamples, seed)
    ranked = np.isfinite(per_query)
    resampled = np.where(ranked, resampled_correlation(*ranks, draws.candidates), np.nan)

    def by_query(figure: Callable[[Array, Array], float]) -> Interval:
        values = np.array(
            [_on_labelled(figure, s, t) if good else np.nan for s, t, good in zip(scores, labels, ranked, strict=True)]
        )
        return interval(_mean(values), weighted_means(values, draws.queries), int(np.isfinite(values).sum()))

    return Agreement(
        rho=interval(_mean(per_query), weighted_means(resampled, draws.queries), int(ranked.sum())),
        aggregated_rho=_aggregated_interval(scores[ranked], labels[ranked], draws, ranked),
        tau=by_query(_tau),
        precision=by_query(lambda s, t: precision_at_k(s, t, k)),
        ndcg=by_query(lambda s, t: ndcg_at_k(s, t, k)),
        per_query=per_query,
        candidates=int((~np.isnan(labels)).sum(1).max()),
        resampled=resampled,
        draws=draws,
    )


def is_square(labels: Array) -> bool:
    """Whether labels are those of one set of samples against itself."""
    return labels.shape[0] == labels.shape[1] and bool(np.isnan(np.diagonal(labels)).all())


def per_query_spearman(scores: Array, labels: Array) -> Array:
    """Spearman's ρ of each query's candidate ranking.

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape; NaN where a pair is not labelled.
    Returns:
        ρ per query over its labelled pairs, shape (queries,); NaN where a row of either is constant or not
        finite, or has fewer than 3 of them.
    Raises:
        ShapeError: the shapes differ, or there are fewer than 3 candidates.
    """
    return _spearman(scores, labels, _ranks(scores, labels))


def _spearman(scores: Array, labels: Array, ranks: tuple[Array, Array]) -> Array:
    labelled = ~np.isnan(labels)
    usable = (np.isfinite(scores) & np.isfinite(labels) | ~labelled).all(1) & (labelled.sum(1) >= MIN_CANDIDATES)
    rho = resampled_correlation(*ranks, np.ones((1, labels.shape[1])))[0]
    return np.where(usable, rho, np.nan)


def aggregated_spearman(scores: Array, labels: Array) -> float:
    """Spearman's ρ of the candidates' mean scores over all queries; it flatters, see the design."""
    _check(scores, labels)
    return float(per_query_spearman(_candidate_means(scores, labels), _candidate_means(labels, labels))[0])


def precision_at_k(scores: Array, labels: Array, k: int) -> float:
    """Share of the k best candidates by label, or of all where they are fewer, that are among the k best by score;
    shapes (candidates,)."""
    k = min(k, len(labels))
    best = set(np.argsort(-labels, kind="stable")[:k])
    return len(best & set(np.argsort(-scores, kind="stable")[:k])) / k


def ndcg_at_k(scores: Array, labels: Array, k: int) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002, section 2.2).

    The gain of a candidate is its label above the smallest one, so that gains are not negative. Where there are fewer
    than k candidates, all count.
    """
    k = min(k, len(labels))
    gains = labels - labels.min()
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = float((np.sort(gains)[::-1][:k] * discounts).sum())
    found = float((gains[np.argsort(-scores, kind="stable")[:k]] * discounts).sum())
    return found / ideal if ideal > 0 else float("nan")


def paired_difference(left: Agreement, right: Agreement, undefined: float = float("nan")) -> Interval:
    """Mean per-query ρ of one ranking minus another's, on the same queries and candidates and under the same draws.

    Args:
        left: one.
        right: the other; queries that it can't rank are left out.
        undefined: counts as ρ of a query that `left` can't rank; NaN leaves the query out.
    Raises:
        ShapeError: they were not measured on as many queries and draws.
    """
    if left.resampled.shape != right.resampled.shape:
        shapes = f"{left.resampled.shape} and {right.resampled.shape}"
        raise ShapeError(f"paired values have the shapes {shapes}.", "Measure both on the same labels.")
    filled = np.where(np.isfinite(left.per_query), left.per_query, undefined)
    values = filled - right.per_query
    in_draws = np.where(np.isfinite(left.per_query), left.resampled, undefined) - right.resampled
    draws = weighted_means(in_draws, left.draws.queries)
    return interval(_mean(values), draws, int(np.isfinite(values).sum()))


def unpaired_difference(left: Agreement, right: Agreement) -> Interval:
    """Mean per-query ρ of `left` minus that of `right`, each on queries and candidates of its own."""
    first, second = (weighted_means(found.resampled, found.draws.queries) for found in (left, right))
    size = min(len(first), len(second))
    # Equal sizes have equal draws; in another order they have nothing to do with each other.
    draws = first[:size] - np.random.default_rng(1).permutation(second)[:size]
    return interval(left.rho.value - right.rho.value, draws, min(left.rho.queries, right.rho.queries))


def _aggregated_interval(scores: Array, labels: Array, draws: Draws, ranked: Array) -> Interval:
    if not len(scores):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    weights = draws.queries[:, ranked]
    means = [_candidate_means(values, labels, weights) for values in (scores, labels)]
    resampled = rowwise_correlation(*_ranks(*means), draws.candidates)
    return interval(aggregated_spearman(scores, labels), resampled, len(scores))


def _candidate_means(values: Array, labels: Array, weights: Array | None = None) -> Array:
    """Mean of each candidate over the queries that it is labelled for, shape (draws, candidates)."""
    weights = np.ones((1, len(labels))) if weights is None else weights
    labelled = ~np.isnan(labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights @ np.where(labelled, values, 0.0) / (weights @ labelled)


def _on_labelled(figure: Callable[[Array, Array], float], scores: Array, labels: Array) -> float:
    labelled = ~np.isnan(labels)
    return figure(scores[labelled], labels[labelled])


def _mean(values: Array) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _tau(scores: Array, labels: Array) -> float:
    return float(stats.kendalltau(scores, labels, variant="b").statistic)


def _ranks(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Ranks within each row of the pairs that are labelled, NaN elsewhere."""
    _check(scores, labels)
    hidden = np.isnan(labels)
    return tuple(
        stats.rankdata(np.where(hidden, np.nan, values), axis=1, nan_policy="omit") for values in (scores, labels)
    )


def _check(scores: Array, labels: Array) -> None:
    if scores.shape != labels.shape or scores.ndim != 2:
        raise ShapeError(f"scores of shape {scores.shape} do not fit labels of shape {labels.shape}.")
    if labels.shape[1] < MIN_CANDIDATES:
        raise ShapeError(f"{labels.shape[1]} candidates can't be ranked.", f"Give {MIN_CANDIDATES} or more.")
