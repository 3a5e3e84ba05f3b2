"""Ways to tell what is harmful by a handful of examples: each gives influence of candidates with examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.encoder import baselines as baselines
from bench.encoder.setting import PART, Block, Setting
from bench.filter.data import Mixture
from bench.lds.setting import bench_folder, key, write
from influcoder.attribution.filter.scoring import Rule, standardised
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.encoder import Encoder, distil
from influcoder.influence.features.adam import AdamState, load_state
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.labeller import Labelled
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.scores import influence
from influcoder.influence.teachers.warm_up import warm_up
from influcoder.labelsets import LabelSet, Plan
from influcoder.labelsets.labelset import assemble
from influcoder.labelsets.plan import Entry
from influcoder.settings.labels import EncoderSettings
from influcoder.settings.teacher import TeacherSpec

# Rows of examples and of candidates in, influence out, shape (candidates, examples).
Influence = Callable[[np.ndarray, np.ndarray], np.ndarray]
MAX_TOKENS = 64
WARM_UP_STEPS, WARM_UP_BATCH = 50, 8
QUERIES = 100


@dataclass(frozen=True)
class Bench:
    """Samples with their exact features, and what a seed draws from them.

    Args:
        mixture: the samples.
        setting: their features, losses and hidden states.
        decoder: whose they are.
    """

    mixture: Mixture
    setting: Setting
    decoder: Decoder

    @property
    def spec(self) -> TeacherSpec:
        """The teacher of the labels."""
        return TeacherSpec(max_tokens=MAX_TOKENS)

    @property
    def less_spec(self) -> TeacherSpec:
        """The same by LESS."""
        return self.spec.model_copy(update={"method": "less"})

    @cached_property
    def less_state(self) -> AdamState:
        """What Adam has seen after a warm-up on samples of the mixture; made once."""
        path = self._folder / "adam.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = self.setting.samples
            warm_up(self.decoder, self.less_spec, samples, WARM_UP_STEPS, WARM_UP_BATCH).save(path)
        return load_state(path)

    def less(self, wanted: np.ndarray) -> dict[int, np.ndarray]:
        """Features of LESS by row, gradients beside Adam's steps; made once, part by part, in the order of the seeds.

        Args:
            wanted: rows that have to be there; all before the last of them are too.
        """
        order = self._less_order
        last = max(order.index(row) for row in wanted.tolist())
        found: dict[int, np.ndarray] = {}
        with progress("LESS", last + 1) as ticker:
            for start in range(0, last + 1, PART):
                rows = order[start : start + PART]
                path = self._folder / f"less-{key([self.setting.hashes[row] for row in rows])}.npy"
                if not path.is_file():
                    vectors = self.gradients(rows, self.less_spec)
                    write(path, lambda file, vectors=vectors: np.save(file, vectors))
                found |= dict(zip(rows, np.load(path), strict=True))
                ticker.advance(len(rows))
        return found

    @cached_property
    def _less_order(self) -> list[int]:
        draws = [self.mixture.draw(seed) for seed in range(3)]
        rows = [draw[name] for draw in draws for name in ("examples", "validation", "pool")]
        return list(dict.fromkeys(np.concatenate([*rows, np.arange(len(self.setting.samples))]).tolist()))

    def gradients(self, rows: Sequence[int], spec: TeacherSpec) -> np.ndarray:
        """Exact features of some samples, shape (samples, width)."""
        state = self.less_state if spec.method == "less" else None
        tokens = [tokenize(self.decoder.tokenizer, self.setting.samples[row], spec.max_tokens) for row in rows]
        found = np.zeros((len(tokens), spec.width), np.float16)

        def work(own: Decoder, batch: list[int]) -> np.ndarray:
            return extract_features(own, spec, [tokens[row] for row in batch], state).vectors

        for batch, vectors in in_batches([len(item) for item in tokens], *Batching().share(self.decoder, work)):
            found[batch] = vectors
        return found

    @property
    def _folder(self) -> Path:
        facts = (self.decoder.fingerprint, self.less_spec.model_dump(), WARM_UP_STEPS, WARM_UP_BATCH)
        return bench_folder() / "filter" / key(*facts, self.setting.hashes)

    def by_vectors(self, vectors: np.ndarray, unit: bool = True) -> Influence:
        """Cosines, or inner products, of vectors of all samples."""
        rows = vectors.astype(np.float32)
        if unit:
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
        return lambda examples, candidates: rows[candidates] @ rows[examples].T

    def by_gradients(self, examples: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Exact influence by gradient cosine."""
        return influence(self.setting.own[candidates], self.setting.own[examples])

    def by_less(self, draw: Mapping[str, np.ndarray]) -> Influence:
        """Exact influence by LESS: Adam's step on a candidate, the gradient of an example."""
        rows = np.unique(np.concatenate([draw[name] for name in ("examples", "validation", "pool")]))
        features, half = self.less(rows), self.less_spec.width // 2

        def found(examples: np.ndarray, candidates: np.ndarray) -> np.ndarray:
            left, right = (np.stack([features[row] for row in part.tolist()]) for part in (candidates, examples))
            return influence(left, right, slice(half, None), slice(0, half))

        return found

    def by_words(self, score: Callable[[Setting, str], np.ndarray]) -> Influence:
        """BM25 or TF-IDF, whose word frequencies are the candidates'."""

        def found(examples: np.ndarray, candidates: np.ndarray) -> np.ndarray:
            blocks = {"asked": Block(examples, candidates)}
            setting = Setting(self.setting.samples, "", blocks, *(np.empty(0),) * 4)
            return score(setting, "asked").T

        return found

    def by_surface(self, train: np.ndarray) -> Influence:
        """Length and format alone."""
        return self.by_vectors(baselines.standardised(baselines.surfaces(self.setting), train))

    def by_states(self, depth: int) -> Influence:
        """RepSim: mean hidden states behind one of the decoder's blocks."""
        return self.by_vectors(self.setting.states[:, depth, 1])

    def labels(self, train: np.ndarray, selection: np.ndarray, queries: Sequence[int] = ()) -> LabelSet:
        """A label set of some rows; the first of each role is a query.

        Args:
            train: rows to learn from.
            selection: rows that choose.
            queries: more rows to learn from, as queries.
        """
        samples, entries, rows = self.setting.samples, [], []
        for split, chosen, asked in (("train", train, QUERIES), ("selection", selection, len(selection) // 3)):
            places = [*queries, *chosen] if split == "train" else list(chosen)
            asked = asked + len(queries) if split == "train" else asked
            entries += [
                Entry(samples[row], "query" if number < asked else "candidate", split)
                for number, row in enumerate(places)
            ]
            rows += places
        ones = np.ones(len(rows), np.float32)
        hashes = tuple(samples[row].hash for row in rows)
        table = FeatureTable(hashes, self.setting.own[rows], ones, ones, 0 * ones)
        teacher = Teacher(decoder_fingerprint=self.decoder.fingerprint, spec=self.spec)
        plan = Plan("training", tuple(entries), (("bench", "bench"),))
        return assemble(plan, teacher, "bench", Labelled(table, {}, len(rows)))

    def distilled(self, labels: LabelSet, recipe: str, seed: int) -> np.ndarray:
        """Vectors of all samples by an encoder of some labels; what was made before is read."""
        settings = EncoderSettings(recipe=recipe, max_tokens=MAX_TOKENS, seed=seed)
        folder = bench_folder() / "filter"
        path = folder / f"{key(labels.id, settings.model_dump(), self.setting.hashes)}.npy"
        if not path.is_file():
            vectors = self.encoder(labels, settings).embed(self.views(recipe == "kernel"))
            write(path, lambda file: np.save(file, vectors))
        return np.load(path)

    def encoder(self, labels: LabelSet, settings: EncoderSettings) -> Encoder:
        """An encoder of some labels."""
        base = None if settings.recipe == "kernel" else Encoder(settings.base, settings.max_tokens)
        return distil(base, labels, settings, self.decoder).encoder

    def views(self, apart: bool) -> list[str] | list[tuple[str, str]]:
        """What an encoder sees of all samples: context and target apart for a closed form, else the text."""
        samples = self.setting.samples
        return [(s.context, s.target) for s in samples] if apart else [s.text for s in samples]


def scored(
    score: Influence, examples: np.ndarray, rows: np.ndarray, rule: Rule, cohort: np.ndarray | None
) -> np.ndarray:
    """Scores of some rows as the product makes them; without a cohort, of influence itself."""
    values = rule(score(examples, rows)).astype(np.float64)
    return values if cohort is None else standardised(values, score(cohort, rows), rows[:, None] == cohort[None])
