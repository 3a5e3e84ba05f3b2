"""What the selection benchmark is measured on: a mixed pool, a domain in it, and what each arm draws by.

Labels are kept part by part, so that a bench that was killed goes on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.encoder.setting import unique
from bench.lds.setting import key, write
from influcoder.attribution import steering
from influcoder.attribution.steering.labels import features, solved
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.teachers.scores import influence
from influcoder.samples import Sample, read_corpus
from influcoder.settings.teacher import TeacherSpec
from monitoring.checks.baselines import bm25_scores

UNIFORM, ESTIMATED, EXACT, LEXICAL, RANDOM = "uniform", "estimated", "exact", "lexical", "random"
ARMS = {
    UNIFORM: "all alike",
    ESTIMATED: "by estimated influence",
    EXACT: "by exact influence",
    LEXICAL: "by BM25",
    RANDOM: "half of them, dropped at random",
}
PART = 16


@dataclass(frozen=True)
class Plan:
    """Sizes of the bench.

    Args:
        pool: training samples.
        queries: validation queries that samples are chosen by.
        validation: samples of the same domain that the loss is taken on.
        labels: pool samples that are labelled exactly for the encoder.
        steps: optimiser steps of a run.
        batch: samples a step.
        max_tokens: length limit of a sample.
        blocks: how many of the decoder's last blocks are trained, and have a part in exact influence.
        rank: of the LoRA that is trained.
        learning_rate: AdamW's, falling to zero.
    """

    pool: int = 120
    queries: int = 16
    validation: int = 24
    labels: int = 48
    steps: int = 12
    batch: int = 4
    max_tokens: int = 64
    blocks: int = 6
    rank: int = 8
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Setting:
    """Samples in their roles, and the domain in words."""

    pool: list[Sample]
    queries: list[Sample]
    validation: list[Sample]
    domain: str


@dataclass(frozen=True)
class Choice:
    """What each arm goes by.

    Args:
        values: of the pool's samples, by arm, each of shape (pool,).
        seconds: what the labels of an arm took, and the encoder.
    """

    values: dict[str, np.ndarray]
    seconds: dict[str, float]


def draw(data: Path, plan: Plan) -> Setting:
    """Instructions of three sources as they are mixed, or documentation of packages where they are not there."""
    if (data / "pool_instruct.jsonl").is_file():
        found, source, name = unique(data / "pool_instruct.jsonl").samples, "gsm8k", "grade-school arithmetic"
    else:
        found = read_corpus("docs:numpy,pandas,scipy.signal,sklearn").samples
        source, name = "scipy.signal", "documentation of scipy.signal"
    generator = np.random.default_rng(0)
    inside = [sample for sample in found if sample.source.startswith(source)]
    asked = [inside[row] for row in generator.permutation(len(inside))[: plan.queries + plan.validation]]
    taken = {sample.hash for sample in asked}
    rest = [sample for sample in found if sample.hash not in taken]
    pool = [rest[row] for row in generator.permutation(len(rest))[: plan.pool]]
    share = sum(sample.source.startswith(source) for sample in pool)
    return Setting(
        pool, asked[: plan.queries], asked[plan.queries :], f"{name}, {share} of the pool's {len(pool)} samples"
    )


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What was made before, or what is made now and kept."""
    if not path.is_file():
        found = make()
        write(path, lambda file: file.write(json.dumps(found).encode()))
    return json.loads(path.read_text())


def choose(setting: Setting, decoder: Decoder, plan: Plan, folder: Path) -> Choice:
    """Exact influence of the whole pool; estimates of it from a part of the labels; BM25."""
    spec = TeacherSpec(max_tokens=plan.max_tokens, last_layers=plan.blocks)
    samples = [*setting.queries, *setting.pool]
    folder = folder / key(decoder.fingerprint, spec.model_dump(), [sample.hash for sample in samples])

    def label(path: Path, part: list[Sample]) -> None:
        start = time.perf_counter()
        found = features(decoder, spec, part)
        assert len(found.hashes) == len(part), "a sample of the bench has no gradient"
        taken = time.perf_counter() - start
        write(path, lambda file: np.savez(file, vectors=np.asarray(found.vectors), seconds=taken))

    parts = []
    with progress("labelling the pool", len(samples)) as ticker:
        for start in range(0, len(samples), PART):
            part, path = samples[start : start + PART], folder / f"labels-{start}.npz"
            if not path.is_file():
                label(path, part)
            parts.append(np.load(path))
            ticker.advance(len(part))
    vectors = np.concatenate([part["vectors"] for part in parts])
    seconds, learnt = sum(float(part["seconds"]) for part in parts), plan.queries + plan.labels
    start, asked = time.perf_counter(), {sample.hash for sample in setting.queries}
    encoder = solved(decoder, spec, samples[:learnt], vectors[:learnt], asked)
    values = {
        ESTIMATED: steering.estimates(encoder, setting.queries, setting.pool),
        EXACT: influence(vectors[: plan.queries], vectors[plan.queries :]).mean(0).astype(np.float64),
        LEXICAL: bm25_scores(setting.queries, setting.pool).mean(0),
    }
    own = seconds * learnt / len(samples) + time.perf_counter() - start
    return Choice(values, {ESTIMATED: own, EXACT: seconds})
