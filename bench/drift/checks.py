"""Checks as they would really come out: queries and candidates drawn from real labels, ranked by a real encoder.

An encoder in closed form is solved on a third of the training labels of the encoder bench; everything else is what
checks are drawn from. A fall is made by blending its scores with the untrained encoder's until the mean per-query ρ of
the whole pool is lower by so much. Every check draws queries and candidates afresh, so its queries share their
candidates as real ones do, and its standard error comes from the same bootstrap as in production, with fewer draws.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from bench.encoder.kernels import TEXT, Kernels
from bench.encoder.recipe import untrained
from bench.encoder.setting import Setting
from bench.lds.setting import bench_folder, key, write
from influcoder.core.progress import progress
from influcoder.decoder.load import load_decoder
from influcoder.statistics.agreement import is_square, per_query_spearman
from influcoder.statistics.bootstrap import Draws, resampled_correlation, weighted_means

FALLS = (0.0, 0.05, 0.1, 0.2)
PART = 100
RESAMPLES = 200
PROMOTION = (100, 150)


@dataclass(frozen=True)
class Pool:
    """What checks are drawn from.

    Args:
        labels: exact influence, shape (queries, candidates).
        scores: the encoder's scores by the fall of their mean ρ, same shape.
        square: whether both sides are the same samples, each a query that ranks all the others.
        rho: mean per-query ρ by fall.
    """

    labels: np.ndarray
    scores: Mapping[float, np.ndarray]
    square: bool
    rho: Mapping[float, float]


@dataclass(frozen=True)
class Bank:
    """Checks that were drawn from a pool.

    Args:
        means: mean per-query ρ by fall, shape (checks, batches): draws that grow, the last one a whole check.
        errors: standard errors, same shape.
        per_query: ρ of each query of the whole check by fall, shape (checks, queries).
        promotion: mean and error of reports at promotion, shape (checks, 2).
        reports: ρ of each of their queries, shape (checks, queries).
        samples: labelled samples of each batch, shape (batches,).
        queries: queries of each batch, shape (batches,).
    """

    means: Mapping[float, np.ndarray]
    errors: Mapping[float, np.ndarray]
    per_query: Mapping[float, np.ndarray]
    promotion: np.ndarray
    reports: np.ndarray
    samples: np.ndarray
    queries: np.ndarray


def pool_of(setting: Setting, decoder_uri: str, max_tokens: int, square: bool) -> Pool:
    """Samples that the encoder has not seen, with its scores as they are and as they fall."""
    train, held = setting.blocks["train"], ("train", "selection", "report")
    some = [train.queries[::3], train.candidates[::3]]
    vectors, _ = Kernels(setting, load_decoder(decoder_uri), max_tokens).fit(TEXT, *some)
    roles = [
        np.concatenate([getattr(setting.blocks[name], role) for name in held]) for role in ("queries", "candidates")
    ]
    queries, candidates = (np.setdiff1d(role, seen) for role, seen in zip(roles, some, strict=True))
    if square:
        queries = candidates = np.union1d(queries, candidates)
    features = setting.own.astype(np.float32)
    labels = features[queries] @ features[candidates].T
    if square:
        np.fill_diagonal(labels, np.nan)
    ours, other = (_rowwise(rows[queries] @ rows[candidates].T) for rows in (vectors, _unit(untrained(setting))))
    whole = _mean(ours, labels)
    scores = {fall: _blended(ours, other, labels, whole - fall) for fall in FALLS}
    return Pool(labels, scores, square, {fall: _mean(found, labels) for fall, found in scores.items()})


def bank_of(name: str, pool: Pool, sizes: list[tuple[int, int]], checks: int) -> Bank:
    """Checks of growing size, drawn and kept part by part.

    Args:
        name: of the pool, for the cache.
        pool: what is drawn from.
        sizes: queries and candidates of each batch of a check, growing.
        checks: how many.
    """
    folder = bench_folder() / "drift"
    parts = []
    with progress(f"checks on {name}", checks) as ticker:
        for start in range(0, checks, PART):
            path = folder / f"{key(name, pool.rho[0.0], pool.labels.shape, sizes, RESAMPLES, PART, start)}.npz"
            if not path.is_file():
                columns = _part(pool, sizes, start)
                write(path, lambda file, columns=columns: np.savez(file, **columns))
            parts.append(dict(np.load(path)))
            ticker.advance(PART)
    whole = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
    by_fall = [{fall: whole[f"{column} {fall}"] for fall in FALLS} for column in ("means", "errors", "per_query")]
    samples = np.array([sum(size) for size in sizes])
    queries = samples if pool.square else np.array([size[0] for size in sizes])
    return Bank(*by_fall, whole["promotion"], whole["reports"], samples, queries)


def measured(scores: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float, np.ndarray]:
    """Mean per-query ρ, its bootstrap error and ρ of each query, as `agreement` gives them."""
    per_query = per_query_spearman(scores, labels)
    found = _bootstrap(scores, labels, seed)
    return float(np.nanmean(per_query)), float(np.nanstd(found)), per_query


def _part(pool: Pool, sizes: list[tuple[int, int]], start: int) -> Mapping[str, np.ndarray]:
    columns: dict[str, list] = {}

    def keep(column: str, value: object) -> None:
        columns.setdefault(column, []).append(value)

    for seed in range(start, start + PART):
        generator = np.random.default_rng(seed)
        mean, error, per_query = measured(*_drawn(pool, 0.0, next(_draws(pool, generator, [PROMOTION]))), seed)
        keep("promotion", (mean, error))
        keep("reports", per_query)
        draws = list(_draws(pool, generator, sizes))
        for fall in FALLS:
            found = [measured(*_drawn(pool, fall, draw), seed) for draw in draws]
            keep(f"means {fall}", [item[0] for item in found])
            keep(f"errors {fall}", [item[1] for item in found])
            keep(f"per_query {fall}", found[-1][2])
    return {column: np.array(values) for column, values in columns.items()}


def _draws(
    pool: Pool, generator: np.random.Generator, sizes: list[tuple[int, int]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of draws that contain the ones before them."""
    rows, columns = (generator.permutation(count) for count in pool.labels.shape)
    for queries, candidates in sizes:
        if pool.square:
            yield rows[: queries + candidates], rows[: queries + candidates]
        else:
            yield rows[:queries], columns[:candidates]


def _drawn(pool: Pool, fall: float, draw: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    place = np.ix_(*draw)
    return pool.scores[fall][place], pool.labels[place]


def _bootstrap(scores: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    hidden = np.isnan(labels)
    ranks = (rankdata(np.where(hidden, np.nan, part), axis=1, nan_policy="omit") for part in (scores, labels))
    draws = Draws.of(labels.shape, is_square(labels), RESAMPLES, seed)
    return weighted_means(resampled_correlation(*ranks, draws.candidates), draws.queries)


def _blended(ours: np.ndarray, other: np.ndarray, labels: np.ndarray, target: float) -> np.ndarray:
    """Scores whose mean ρ is the target, by bisection of the share of the other encoder."""
    low, high = 0.0, 1.0
    for _ in range(20):
        share = (low + high) / 2
        low, high = (share, high) if _mean((1 - share) * ours + share * other, labels) > target else (low, share)
    return (1 - low) * ours + low * other


def _mean(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.nanmean(per_query_spearman(scores, labels)))


def _rowwise(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
