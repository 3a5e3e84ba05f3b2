"""How far a teacher's ranking moves when arithmetic alone changes: other batches, another floating-point type."""

import json
import logging
from collections.abc import Sequence

import numpy as np

from influcoder.core.errors import MemoryShortError
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.adam import AdamState
from influcoder.influence.features.batching import Batching, in_batches, is_out_of_memory
from influcoder.influence.features.cache import FeatureCache, FeatureTable, Gathering
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.labeller import Effort, label_samples, usable_rows
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.reliability_record import Numerics
from influcoder.influence.rounding import in_dtype, rounded_to_bfloat16
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.scores import as_cosine, exact_influence
from influcoder.samples import Sample
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import per_query_spearman
from influcoder.storage.object_store import sha256

logger = logging.getLogger(__name__)
# Two passes over a third of the samples cost less than the one over all of them that measures the ceiling.
SHARE = 3
MIN_QUERIES = 2
MIN_CANDIDATES = 5


def measure_numerics(
    decoder: Decoder,
    teacher: Teacher,
    queries: Sequence[Sample],
    candidates: Sequence[Sample],
    reference: Sequence[Sample],
    cache: FeatureCache,
    effort: Effort,
    state: AdamState | None = None,
) -> Numerics | None:
    """How far arithmetic moves a teacher's ranking of some samples; what was measured once is read from the cache.

    The labels themselves are one side: their features come from the cache, or are computed for it. For the other side
    the features of queries and candidates are computed again, twice: in pairs of a short and a long sample, so that
    padding and neighbours are others; and by a copy of the decoder in another type. For one in float32 that is the
    rounding of bfloat16 (see `rounded_to_bfloat16`), what labels made on other hardware would differ by; for any other
    it is float32 with the same weights. A curvature stays the teacher's own.

    Args:
        decoder: the teacher's decoder; for a moment its weights are in memory once more, in the other type.
        teacher: whose labels are judged.
        queries: samples in the role of queries; the first third counts, at least 2.
        candidates: samples in the role of candidates; the first third counts, at least 5.
        reference: samples that the teacher's curvature is taken on; none where it has none.
        cache: where the teacher's features, and the result, are kept.
        effort: how much is worked on at once.
        state: the optimiser state that LESS preconditions with.
    Returns:
        None where fewer than 2 queries or 5 candidates have a usable gradient, or are ranked by it.
    """
    spec, dtype = teacher.spec, other_dtype(teacher.spec)
    counts = max(MIN_QUERIES, len(queries) // SHARE), max(MIN_CANDIDATES, len(candidates) // SHARE)
    roles = queries[: counts[0]], candidates[: counts[1]], reference
    content = [spec.method, spec.damping, dtype, [[sample.hash for sample in role] for role in roles]]
    name = f"numerics-{sha256(json.dumps(content).encode())[:20]}"
    known = cache.note(name)
    if known is not None:
        return Numerics.model_validate_json(known)
    own = label_samples(decoder, teacher, [s for role in roles for s in role], cache, effort, state).table
    ranked = list({sample.hash: sample for sample in (*roles[0], *roles[1])}.values())
    batches = recomputed(decoder, spec, ranked, effort.batching, state, apart=True)
    other = _in_other_dtype(decoder, spec, dtype, ranked, effort.batching, state)
    tables = [own, batches, *([other] if other is not None else [])]
    found = numerics_of(spec, dtype, roles, tables)
    if found is not None:
        cache.keep_note(name, found.model_dump_json().encode())
    return found


def other_dtype(spec: TeacherSpec) -> str:
    """The type that a teacher's own is held against."""
    return "bfloat16" if spec.dtype == "float32" else "float32"


def recomputed(
    decoder: Decoder,
    spec: TeacherSpec,
    samples: Sequence[Sample],
    batching: Batching,
    state: AdamState | None = None,
    apart: bool = False,
) -> FeatureTable:
    """Features of samples, whatever is cached.

    Args:
        decoder: the decoder.
        spec: the teacher's specification.
        samples: unique by content.
        batching: how much is worked on at once.
        state: the optimiser state that LESS preconditions with.
        apart: whether to batch each sample with one of another length, instead of with those of its own.
    """
    tokens = {sample.hash: tokenize(decoder.tokenizer, sample, spec.max_tokens) for sample in samples}
    ordered = _unlike_neighbours(samples, [len(tokens[s.hash]) for s in samples]) if apart else list(samples)

    def work(own: Decoder, batch: list[int]) -> FeatureTable:
        chosen = [ordered[row] for row in batch]
        shown = [tokens[sample.hash] for sample in chosen]
        return usable_rows(chosen, shown, extract_features(own, spec, shown, state), spec.storage)[0]

    budget, works = batching.share(decoder, work)
    lengths, found = [len(tokens[sample.hash]) for sample in ordered], Gathering([sample.hash for sample in samples])
    if apart:
        # As long as each other, they stay in the order that they are in; two of them fill a batch.
        lengths = [max(lengths)] * len(lengths)
        budget = 2 * lengths[0]
    for _, table in in_batches(lengths, budget, works):
        found.add(table)
    return found.table()


def _unlike_neighbours(samples: Sequence[Sample], lengths: Sequence[int]) -> list[Sample]:
    """Each of the shorter half followed by one of the longer half, half the ranks of length away."""
    order = sorted(range(len(samples)), key=lambda row: lengths[row])
    half = len(order) // 2
    mixed = [row for pair in zip(order[:half], order[half:], strict=False) for row in pair]
    return [samples[row] for row in (*mixed, *order[2 * half :])]


def _in_other_dtype(
    decoder: Decoder,
    spec: TeacherSpec,
    dtype: str,
    samples: Sequence[Sample],
    batching: Batching,
    state: AdamState | None,
) -> FeatureTable | None:
    """Features under the decoder in another type; None where there is no memory for a second copy."""
    try:
        other = rounded_to_bfloat16(decoder) if dtype == "bfloat16" else in_dtype(decoder, dtype)
        return recomputed(other, spec, samples, batching, state)
    except (MemoryShortError, MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryShortError) and not is_out_of_memory(error):
            raise
        logger.warning("memory is too short for the decoder in %s beside itself: its rounding is not measured", dtype)
        return None


def numerics_of(
    spec: TeacherSpec, dtype: str, roles: Sequence[Sequence[Sample]], tables: Sequence[FeatureTable]
) -> Numerics | None:
    """Numerics from features of the same samples.

    Args:
        spec: the teacher's specification.
        dtype: the other floating-point type.
        roles: queries, candidates and reference samples.
        tables: features of them all as they are labelled; then of queries and candidates in other batches, and in the
            other type where they could be computed.
    Returns:
        None where fewer than 2 queries or 5 candidates have a usable gradient, or are ranked by it.
    """
    usable = set.intersection(*(set(table.hashes) for table in tables))
    queries, candidates = ([s.hash for s in role if s.hash in usable] for role in roles[:2])
    if len(queries) < MIN_QUERIES or len(candidates) < MIN_CANDIDATES:
        return None
    labelled = set(tables[0].hashes)
    curvature = tables[0].select([s.hash for s in roles[2] if s.hash in labelled])
    sides = [(table.select(queries), table.select(candidates), curvature) for table in tables]
    scores = [exact_influence(spec, *side) for side in sides]
    cosines = [exact_influence(as_cosine(spec), *side) for side in sides]
    rhos = [float(np.mean(per_query_spearman(other, scores[0]))) for other in scores[1:]]
    errors = [float(np.abs(other - cosines[0]).max()) for other in cosines[1:]]
    if not np.isfinite(rhos).all():
        return None
    figures = dict(zip(("batches", "dtypes"), rhos, strict=False))
    moved = dict(zip(("batches_error", "dtypes_error"), errors, strict=False))
    return Numerics(queries=len(queries), candidates=len(candidates), dtype=dtype, **figures, **moved)
