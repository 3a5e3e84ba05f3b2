"""What a teacher's labels are worth: against themselves under another adapter, and against the whole gradient.

A LoRA gradient sees the layers' inputs through a random matrix, and the sketch folds it once more. Two adapter
seeds therefore rank the same candidates differently, and no encoder can honestly agree with such labels better
than they agree with each other.
"""

import json
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from influcoder.agreement import agreement
from influcoder.decoder import Decoder
from influcoder.influence.adam import AdamState
from influcoder.influence.batching import Batching, in_batches
from influcoder.influence.cache import FeatureCache, FeatureTable, Gathering
from influcoder.influence.gradients import Features, extract_many
from influcoder.influence.labeller import usable_rows
from influcoder.influence.scores import exact_influence
from influcoder.influence.teacher import Teacher, TeacherSpec
from influcoder.influence.tokens import tokenize
from influcoder.progress import progress
from influcoder.samples import Sample
from influcoder.store import sha256

MIN_QUERIES = 2
MIN_CANDIDATES = 5


class Reliability(BaseModel):
    """How far a teacher's labels can be trusted, measured on a few samples.

    Args:
        queries: number of queries that it was measured on.
        candidates: number of candidates.
        ceiling: mean per-query ρ between the teacher and itself under another adapter and sketch seed.
        ceiling_lo: lower end of its 95 % interval over queries.
        ceiling_hi: upper end.
        ceiling_aggregated: ρ of the candidates' means between the two.
        fidelity: mean per-query ρ between the projected cosines and those of the whole adapter gradient.
        largest_error: largest absolute difference between these two cosines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int
    candidates: int
    ceiling: float
    ceiling_lo: float
    ceiling_hi: float
    ceiling_aggregated: float
    fidelity: float
    largest_error: float

    def __str__(self) -> str:
        return (
            f"Under other seeds the labels agree with themselves at ρ {self.ceiling:.3f} [{self.ceiling_lo:.3f}, "
            f"{self.ceiling_hi:.3f}] ({self.queries} queries × {self.candidates} candidates): no encoder can honestly "
            f"do better. The projection keeps the whole gradient's ranking at ρ {self.fidelity:.3f}, with errors of a "
            f"cosine up to {self.largest_error:.3f}."
        )


def measure_reliability(
    decoder: Decoder,
    teacher: Teacher,
    queries: Sequence[Sample],
    candidates: Sequence[Sample],
    reference: Sequence[Sample],
    cache: FeatureCache,
    batching: Batching,
    state: AdamState | None = None,
) -> Reliability | None:
    """Reliability of a teacher on some samples; what was measured once is read from the cache.

    Every sample's pass serves three features at once, and the teacher's own are kept for the label set.

    Args:
        decoder: the teacher's decoder.
        teacher: whose labels are judged.
        queries: samples in the role of queries.
        candidates: samples in the role of candidates.
        reference: samples that the teacher's curvature is taken on; none where it has none.
        cache: where the teacher's features, and the result, are kept.
        batching: how much is worked on at once.
        state: the optimiser state that LESS preconditions with; it fixes the adapter, so that its second opinion
            differs in the sketch alone.
    Returns:
        None where fewer than 2 queries or 5 candidates have a usable gradient.
    """
    roles = (queries, candidates, reference)
    content = [teacher.spec.method, teacher.spec.damping, [[sample.hash for sample in role] for role in roles]]
    key = sha256(json.dumps(content).encode())[:20]
    known = cache.note(f"reliability-{key}")
    if known is not None:
        return Reliability.model_validate_json(known)
    samples = {sample.hash: sample for role in roles for sample in role}
    tables = _passes(decoder, teacher, list(samples.values()), cache, batching, state)
    usable = set.intersection(*(set(table.hashes) for table in tables))
    rows = [[s.hash for s in role if s.hash in usable] for role in roles]
    if len(rows[0]) < MIN_QUERIES or len(rows[1]) < MIN_CANDIDATES:
        return None
    found = _compare(teacher.spec, *[tuple(table.select(role) for role in rows) for table in tables])
    cache.keep_note(f"reliability-{key}", found.model_dump_json().encode())
    return found


def second_opinion(spec: TeacherSpec) -> TeacherSpec:
    """The same teacher under other seeds."""
    seeds = {"adapter_seed": spec.adapter_seed + 1, "projection_seed": spec.projection_seed + 1}
    return spec.model_copy(update=seeds)


def _passes(
    decoder: Decoder,
    teacher: Teacher,
    samples: Sequence[Sample],
    cache: FeatureCache,
    batching: Batching,
    state: AdamState | None,
) -> list[FeatureTable]:
    """The samples' features under the teacher, under its second opinion and as the whole gradient."""
    specs = [teacher.spec, second_opinion(teacher.spec), teacher.spec.model_copy(update={"projection_dim": 0})]
    tokens = [tokenize(decoder.tokenizer, sample, teacher.spec.max_tokens) for sample in samples]

    def work(own: Decoder, batch: list[int]) -> list[Features]:
        return extract_many(own, specs, [tokens[row] for row in batch], state)

    found = [Gathering([sample.hash for sample in samples]) for _ in specs]
    lengths = [len(item) for item in tokens]
    with progress("measuring the labels' reliability", len(samples)) as ticker:
        for batch, features in in_batches(lengths, *batching.share(decoder, work)):
            chosen, shown = [samples[row] for row in batch], [tokens[row] for row in batch]
            tables = [usable_rows(chosen, shown, feature, teacher.spec.storage)[0] for feature in features]
            if tables[0].hashes:
                cache.add(tables[0])
            for gathering, table in zip(found, tables, strict=True):
                gathering.add(table)
            ticker.advance(len(batch))
    return [gathering.table() for gathering in found]


def as_cosine(spec: TeacherSpec) -> TeacherSpec:
    """The teacher whose scores are cosines of the same features."""
    return spec if spec.method == "less" else spec.model_copy(update={"method": "gradient-cosine"})


Roles = tuple[FeatureTable, ...]


def _compare(spec: TeacherSpec, own: Roles, other: Roles, whole: Roles) -> Reliability:
    scores = [exact_influence(spec, *roles) for roles in (own, other, whole)]
    ceiling, fidelity = agreement(scores[1], scores[0]), agreement(scores[0], scores[2])
    cosines = [exact_influence(as_cosine(spec), *roles) for roles in (own, whole)]
    return Reliability(
        queries=scores[0].shape[0],
        candidates=scores[0].shape[1],
        ceiling=ceiling.rho.value,
        ceiling_lo=ceiling.rho.lo,
        ceiling_hi=ceiling.rho.hi,
        ceiling_aggregated=ceiling.aggregated_rho.value,
        fidelity=fidelity.rho.value,
        largest_error=float(np.abs(cosines[0] - cosines[1]).max()),
    )
