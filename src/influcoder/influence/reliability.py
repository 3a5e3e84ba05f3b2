"""What a teacher's labels are worth: against themselves under other chances, and against the whole gradient.

A LoRA gradient sees the layers' inputs through a random matrix, and the sketch folds it once more; a curvature is
taken on a draw of samples. Two seeds, or two draws, therefore rank the same candidates differently, and no encoder can
honestly agree with such labels better than they agree with each other.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.cache import FeatureCache, FeatureTable, Gathering
from influcoder.influence.features.gradients import Features, State, extract_views
from influcoder.influence.features.labeller import usable_rows
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.reliability_record import Reliability
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.scores import as_cosine, exact_influence
from influcoder.samples import Sample
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import agreement
from influcoder.storage.object_store import sha256

Roles = tuple[FeatureTable, ...]
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
    state: State | None = None,
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
    spec, roles = teacher.spec, (queries, candidates, reference)
    content = [spec.method, spec.damping, [[sample.hash for sample in role] for role in roles]]

    def measure() -> Reliability | None:
        views = [(spec, state), (second_opinion(spec), state), (spec.model_copy(update={"projection_dim": 0}), state)]
        tables = _comparable(decoder, views, roles, cache, batching)
        return _compare(spec, *tables) if tables else None

    return _noted(cache, content, measure)


def measure_whitened(
    decoder: Decoder,
    teacher: Teacher,
    roles: Sequence[Sequence[Sample]],
    cache: FeatureCache,
    batching: Batching,
    state: State | None,
    second: Callable[[], tuple[State, int]],
) -> Reliability | None:
    """Reliability of a whitened teacher: against itself with second moments of other samples.

    Args:
        decoder: the teacher's decoder.
        teacher: whose labels are judged.
        roles: queries and candidates.
        cache: where the teacher's features, and the result, are kept.
        batching: how much is worked on at once.
        state: the teacher's whitening.
        second: gives the other one, and how many of its samples are the same.
    Returns:
        None where fewer than 2 queries or 5 candidates have a usable gradient, or are ranked by it.
    """
    spec = teacher.spec

    def measure() -> Reliability | None:
        other, shared = second()
        tables = _comparable(decoder, [(spec, state), (spec, other)], roles, cache, batching)
        if tables is None:
            return None
        own, again = (exact_influence(spec, *table) for table in tables)
        return reliability_of(own, again, against="reference", reference=spec.reference, shared=shared)

    return _noted(cache, [spec.method, [[sample.hash for sample in role] for role in roles]], measure)


def second_opinion(spec: TeacherSpec) -> TeacherSpec:
    """The same teacher under other seeds."""
    seeds = {"adapter_seed": spec.adapter_seed + 1, "projection_seed": spec.projection_seed + 1}
    return spec.model_copy(update=seeds)


def _noted(cache: FeatureCache, content: object, measure: Callable[[], Reliability | None]) -> Reliability | None:
    name = f"reliability-{sha256(json.dumps(content).encode())[:20]}"
    known = cache.note(name)
    if known is not None:
        return Reliability.model_validate_json(known)
    found = measure()
    if found is not None:
        cache.keep_note(name, found.model_dump_json().encode())
    return found


def _comparable(
    decoder: Decoder,
    views: Sequence[tuple[TeacherSpec, State | None]],
    roles: Sequence[Sequence[Sample]],
    cache: FeatureCache,
    batching: Batching,
) -> list[Roles] | None:
    """The roles' features under each view, of samples that have one under all; None where too few have."""
    samples = {sample.hash: sample for role in roles for sample in role}
    tables = _passes(decoder, views, list(samples.values()), cache, batching)
    usable = set.intersection(*(set(table.hashes) for table in tables))
    rows = [[s.hash for s in role if s.hash in usable] for role in roles]
    if len(rows[0]) < MIN_QUERIES or len(rows[1]) < MIN_CANDIDATES:
        return None
    return [tuple(table.select(role) for role in rows) for table in tables]


def _passes(
    decoder: Decoder,
    views: Sequence[tuple[TeacherSpec, State | None]],
    samples: Sequence[Sample],
    cache: FeatureCache,
    batching: Batching,
) -> list[FeatureTable]:
    """The samples' features under each view; those of the first are the teacher's own, and kept."""
    spec = views[0][0]
    tokens = [tokenize(decoder.tokenizer, sample, spec.max_tokens) for sample in samples]

    def work(own: Decoder, batch: list[int]) -> list[Features]:
        return extract_views(own, views, [tokens[row] for row in batch])

    found = [Gathering([sample.hash for sample in samples]) for _ in views]
    lengths = [len(item) for item in tokens]
    with progress("measuring the labels' reliability", len(samples)) as ticker:
        for batch, features in in_batches(lengths, *batching.share(decoder, work)):
            chosen, shown = [samples[row] for row in batch], [tokens[row] for row in batch]
            tables = [usable_rows(chosen, shown, feature, spec.storage)[0] for feature in features]
            if tables[0].hashes:
                cache.add(tables[0])
            for gathering, table in zip(found, tables, strict=True):
                gathering.add(table)
            ticker.advance(len(batch))
    return [gathering.table() for gathering in found]


def _compare(spec: TeacherSpec, own: Roles, other: Roles, whole: Roles) -> Reliability | None:
    scores = [exact_influence(spec, *roles) for roles in (own, other, whole)]
    cosines = [exact_influence(as_cosine(spec), *roles) for roles in (own, whole)]
    return reliability_of(
        scores[0],
        scores[1],
        fidelity=agreement(scores[0], scores[2]).rho.value,
        largest_error=float(np.abs(cosines[0] - cosines[1]).max()),
    )
