"""Kernel ridge regression of the labels' leading directions, with every choice made by leaving one sample out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from influcoder.decoder.checkpoint import Decoder
from influcoder.encoder.lexical import SURFACE, LexicalKernel, counts, dense_features, inverse_frequencies, n_grams
from influcoder.encoder.result import Attempt
from influcoder.samples import Sample
from influcoder.statistics.agreement import per_query_spearman

logger = logging.getLogger(__name__)
Array = np.ndarray

# Relative to a distance of 1 between two samples that have nothing in common but the mean.
BANDWIDTHS = (0.3, 1.0, 2.0)
PENALTIES = (0.03, 0.1, 0.3)
# Each direction costs two bytes of every sample in an index; 48 of them are 96 bytes.
MOST_DIRECTIONS = 48
SPECTRUM = 0.999
# Surfaces and token means of context and target, and n-grams: each counts alike.
PARTS = 5
# Components of the token embeddings; a decoder's table may have thousands.
TABLE_WIDTH = 128
# The solution costs the cube of this: half a minute on two cores.
MOST_CENTRES = 6000


@dataclass(frozen=True)
class TrainingSamples:
    """What is learnt from.

    Args:
        samples: labelled samples.
        labels: influence of each on each, shape (samples, samples); NaN on the diagonal.
        queries: rows of the samples that are queries.
        candidates: rows of those that queries rank.
    """

    samples: Sequence[Sample]
    labels: Array
    queries: Array
    candidates: Array


def coordinates(labels: Array, queries: Array) -> Array:
    """Coordinates of every sample along the leading directions that the queries' gradients span.

    With G the matrix of cosines, and w, U the leading eigenvalues and eigenvectors of its part among the queries, they
    are G U / √w: the gradients' own components, found without the gradients (kernel PCA, Schölkopf et al. 1998,
    without centring). As many as hold 99.9 % of the squared spectrum, 48 at most.

    Args:
        labels: shape (samples, samples), NaN on the diagonal, where a cosine is 1.
        queries: rows of the queries.
    Returns:
        shape (samples, directions).
    """
    gram = labels.astype(np.float64)
    np.fill_diagonal(gram, 1.0)
    values, vectors = np.linalg.eigh(gram[np.ix_(queries, queries)])
    values, vectors = values[::-1], vectors[:, ::-1]
    share = np.cumsum(values**2) / np.sum(values**2)
    kept = min(int(np.searchsorted(share, SPECTRUM)) + 1, MOST_DIRECTIONS, int((values > 1e-9 * values[0]).sum()))
    return gram[:, queries] @ vectors[:, :kept] / np.sqrt(values[:kept])


def solve(
    training: TrainingSamples, decoder: Decoder, max_tokens: int, seed: int
) -> tuple[LexicalKernel, list[Attempt]]:
    """The encoder that leaving one sample out prefers, and everything that was tried, the best first.

    Args:
        training: samples and labels; of more than 6,000 samples so many are drawn.
        decoder: gives tokenizer and token embeddings.
        max_tokens: what the teacher saw of a sample.
        seed: of that draw.
    """
    training = _drawn(training, seed)
    pairs = [(sample.context, sample.target) for sample in training.samples]
    table, tokenizer = _table(decoder), decoder.tokenizer.backend_tokenizer
    dense = dense_features(tokenizer, table, pairs, max_tokens)
    mean, scale = dense.mean(0), _scale(dense, table.shape[1])
    centres = (dense - mean) * scale
    idf = inverse_frequencies(counts(pairs))
    grams = n_grams(pairs, idf)
    distances = (_squares(centres) + 2 * (1 - (grams @ grams.T).toarray())) / PARTS
    targets = coordinates(training.labels, training.queries)
    bias = targets.mean(0)
    attempts = [_attempt(training, distances, targets, *choice) for choice in product(BANDWIDTHS, PENALTIES)]
    attempts.sort(key=lambda attempt: -np.nan_to_num(attempt.left_out, nan=-1))
    best = attempts[0]
    kernel = np.exp(-best.bandwidth * distances)
    coefficients = np.linalg.solve(kernel + best.penalty * np.eye(len(kernel)), targets - bias)
    width = np.sqrt(best.bandwidth / PARTS)
    arrays = {
        "table": torch.from_numpy(table).half(),
        **_floats(mean=mean, scale=scale * width, centres=centres * width, idf=idf, gram_values=grams.data),
        **_floats(coefficients=coefficients, bias=bias, bandwidth=np.array(best.bandwidth / PARTS)),
        "gram_places": torch.from_numpy(grams.indices),
        "gram_starts": torch.from_numpy(grams.indptr),
        "max_tokens": torch.tensor(max_tokens),
    }
    return LexicalKernel(tokenizer, arrays), attempts


def _attempt(training: TrainingSamples, distances: Array, targets: Array, bandwidth: float, penalty: float) -> Attempt:
    kernel = np.exp(-bandwidth * distances)
    inverse = np.linalg.inv(kernel + penalty * np.eye(len(kernel)))
    # What a sample's coordinates are predicted to be without it (Rasmussen and Williams 2006, equation 5.12).
    left_out = targets - inverse @ (targets - targets.mean(0)) / np.diag(inverse)[:, None]
    scores = left_out[training.queries] @ left_out[training.candidates].T
    rho = per_query_spearman(scores, training.labels[np.ix_(training.queries, training.candidates)])
    return Attempt(bandwidth, penalty, float(np.nanmean(rho)) if np.isfinite(rho).any() else float("nan"))


def _table(decoder: Decoder) -> Array:
    """The decoder's token embeddings along their leading principal components, shape (vocabulary, width)."""
    weights = decoder.model.get_input_embeddings().weight.detach().float().cpu()
    weights = weights - weights.mean(0)
    _, vectors = torch.linalg.eigh(weights.T @ weights)
    # Encoders store the table in half precision, so that is what is learnt with.
    return (weights @ vectors[:, -TABLE_WIDTH:]).half().float().numpy()


def _scale(dense: Array, width: int) -> Array:
    """What makes each group of columns add about as much to a distance.

    Surface features count alike, whatever their units; of the token embeddings' components the large ones count more.
    """
    surfaces, *means = np.split(dense.var(0), [2 * SURFACE, 2 * SURFACE + width])
    shares = [part * SURFACE for part in np.split(surfaces, 2)]
    shares += [np.full(len(part), part.sum()) for part in means]
    spread = np.concatenate(shares)
    # What is the same in all labelled samples says nothing, and must not set a new sample apart from all of them.
    return np.where(spread > 1e-9, 1 / np.sqrt(spread.clip(1e-9)), 0)


def _squares(rows: Array) -> Array:
    lengths = (rows**2).sum(1)
    return np.maximum(lengths[:, None] + lengths[None, :] - 2 * rows @ rows.T, 0)


def _floats(**arrays: Array) -> dict[str, Any]:
    return {name: torch.from_numpy(np.ascontiguousarray(values)).float() for name, values in arrays.items()}


def _drawn(training: TrainingSamples, seed: int) -> TrainingSamples:
    count = len(training.samples)
    if count <= MOST_CENTRES:
        return training
    logger.warning("learning from %d of %d labelled samples, drawn at random", MOST_CENTRES, count)
    rows = np.sort(np.random.default_rng(seed).choice(count, MOST_CENTRES, replace=False))
    roles = (np.flatnonzero(np.isin(rows, role)) for role in (training.queries, training.candidates))
    return TrainingSamples([training.samples[row] for row in rows], training.labels[np.ix_(rows, rows)], *roles)
