"""What a teacher's labels are worth: against themselves under other chances, and against the whole gradient.

A LoRA gradient sees the layers' inputs through a random matrix, and the sketch folds it once more; a curvature is
taken on a draw of samples. Two seeds, or two draws, therefore rank the same candidates differently, and no encoder can
honestly agree with such labels better than they agree with each other.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.adam import AdamState
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.cache import FeatureCache, FeatureTable, Gathering
from influcoder.influence.features.gradients import Features, extract_many
from influcoder.influence.features.labeller import usable_rows
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.reliability_record import Reliability
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.scores import as_cosine, exact_influence
from influcoder.samples import Sample
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import agreement
from influcoder.storage.object_store import sha256

MIN_QUERIES = 2
MIN_CANDIDATES = 5


def reliability_of(own: np.ndarray, other: np.ndarray, **about: Any) -> Reliability | None:
    """Reliability from two opinions of one teacher.

    Args:
        own: the labels, shape (queries, candidates); NaN where a pair has none.
        other: the second opinion, same shape; only pairs that are in both count.
        about: what else is known, by the fields of `Reliability`.
    Returns:
        None where fewer than 2 queries or 5 candidates can be ranked by both.
    """
    if own.shape[0] < MIN_QUERIES or own.shape[1] < MIN_CANDIDATES:
        return None
    found = agreement(other, np.where(np.isnan(other), np.nan, own))
    if found.rho.queries < MIN_QUERIES or found.candidates < MIN_CANDIDATES or not math.isfinite(found.rho.lo):
        return None
    aggregated = found.aggregated_rho.value
    return Reliability(
        queries=found.rho.queries,
        candidates=found.candidates,
        ceiling=found.rho.value,
        ceiling_lo=found.rho.lo,
        ceiling_hi=found.rho.hi,
        ceiling_aggregated=aggregated if math.isfinite(aggregated) else None,
        **about,
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
        None where fewer than 2 queries or 5 candidates have a usable gradient, or are ranked by it.
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
    if found is not None:
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


Roles = tuple[FeatureTable, ...]


def _compare(spec: TeacherSpec, own: Roles, other: Roles, whole: Roles) -> Reliability | None:
    scores = [exact_influence(spec, *roles) for roles in (own, other, whole)]
    cosines = [exact_influence(as_cosine(spec), *roles) for roles in (own, whole)]
    return reliability_of(
        scores[0],
        scores[1],
        fidelity=agreement(scores[0], scores[2]).rho.value,
        largest_error=float(np.abs(cosines[0] - cosines[1]).max()),
    )
