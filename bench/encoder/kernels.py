"""Encoders in closed form by what they are shown: the solution of the product over any groups of inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from bench.encoder.setting import Setting
from influcoder.decoder.checkpoint import Decoder
from influcoder.encoder import kernel_solver as closed_form
from influcoder.encoder import lexical
from influcoder.encoder.kernel_solver import BANDWIDTHS, PENALTIES, TrainingSamples, coordinates

SURFACE, TOKENS, GRAMS = ("surface context", "surface target"), ("tokens context", "tokens target"), ("n-grams target",)
TEXT = (*SURFACE, *TOKENS, *GRAMS)
STATES = ("state 0.2 context", "state 0.2 target", "state 0.6 context", "state 0.6 target")
LOSSES = ("losses",)


@dataclass(frozen=True)
class Kernels:
    """Distances of all samples to all samples, by group of inputs.

    Args:
        setting: the samples.
        decoder: gives tokenizer and token embeddings.
        max_tokens: what the decoder saw of a sample.
    """

    setting: Setting
    decoder: Decoder
    max_tokens: int

    @cached_property
    def gram(self) -> np.ndarray:
        """Exact influence of every sample on every other."""
        rows = self.setting.own.astype(np.float32)
        return rows @ rows.T

    @cached_property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """Dense inputs by group, shape (samples, columns)."""
        pairs = [(sample.context, sample.target) for sample in self.setting.samples]
        table = closed_form._table(self.decoder)
        dense = lexical.dense_features(self.decoder.tokenizer.backend_tokenizer, table, pairs, self.max_tokens)
        ends = np.cumsum([lexical.SURFACE, lexical.SURFACE, table.shape[1]])
        found = dict(zip((*SURFACE, *TOKENS), np.split(dense, ends, axis=1), strict=True))
        states = self.setting.states.astype(np.float32)
        for depth, name in ((1, "state 0.2"), (3, "state 0.6")):
            found |= {f"{name} context": states[:, depth, 0], f"{name} target": states[:, depth, 1]}
        return found | {"losses": self.setting.losses}

    def distances(self, group: str, train: np.ndarray) -> np.ndarray:
        """Squared distances, about 1 to 2 between two samples, scaled by what the training samples show."""
        if group in GRAMS:
            pairs = [(sample.context, sample.target) for sample in self.setting.samples]
            idf = lexical.inverse_frequencies(lexical.counts([pairs[row] for row in train]))
            grams = lexical.n_grams(pairs, idf)
            return 2 * (1 - (grams @ grams[train].T).toarray())
        rows = self.inputs[group].astype(np.float64)
        spread = rows[train].var(0)
        alike = group in (*SURFACE, *LOSSES)
        scale = spread.clip(1e-12) * rows.shape[1] if alike else np.full(rows.shape[1], spread.sum())
        rows = (rows - rows[train].mean(0)) / np.sqrt(scale)
        lengths = (rows**2).sum(1)
        return np.maximum(lengths[:, None] + lengths[train][None] - 2 * rows @ rows[train].T, 0)

    def fit(self, groups: Sequence[str], queries: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, float]:
        """Vectors of all samples, and the left-out ρ by which bandwidth and penalty were chosen.

        Args:
            groups: what the encoder is shown.
            queries: rows of the setting to learn from in the role of queries.
            candidates: rows in the role of candidates.
        """
        train = np.concatenate([queries, candidates])
        labels = self.gram[np.ix_(train, train)].copy()
        np.fill_diagonal(labels, np.nan)
        roles = np.arange(len(queries)), np.arange(len(queries), len(train))
        lessons = TrainingSamples([self.setting.samples[row] for row in train], labels, *roles)
        targets = coordinates(labels, roles[0])
        distances = sum(self.distances(group, train) for group in groups) / len(groups)
        among = distances[train]
        attempts = [closed_form._attempt(lessons, among, targets, *pair) for pair in product(BANDWIDTHS, PENALTIES)]
        best = max(attempts, key=lambda attempt: attempt.left_out)
        kernel = np.exp(-best.bandwidth * distances)
        bias = targets.mean(0)
        solution = np.linalg.solve(kernel[train] + best.penalty * np.eye(len(train)), targets - bias)
        return kernel @ solution + bias, best.left_out

    def covering(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Rows that leave no other far away: greedy k-centre (Gonzalez 1985) by what the text encoder is shown."""
        distances = sum(self.distances(group, rows) for group in TEXT)[rows]
        chosen = [int(np.argmin(distances.mean(1)))]
        nearest = distances[chosen[0]].copy()
        while len(chosen) < count:
            chosen.append(int(np.argmax(nearest)))
            nearest = np.minimum(nearest, distances[chosen[-1]])
        return rows[chosen]
