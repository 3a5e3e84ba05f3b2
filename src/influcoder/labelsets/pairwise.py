"""Labels of teachers that score pairs: computed split by split, each kept when it is done."""

import json
import logging
import tempfile
from collections.abc import Sequence

import numpy as np

from influcoder.core.errors import SettingsError
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.reliability import reliability_of
from influcoder.influence.reliability_record import Reliability
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.ekfac import ekfac_influence
from influcoder.influence.teachers.pair_scores import PairScores
from influcoder.labelsets.plan import REFERENCE, ROLES, Plan
from influcoder.samples import SPLITS, Sample
from influcoder.settings.teacher import TeacherSpec
from influcoder.storage.records import id_of

logger = logging.getLogger(__name__)
_DAMPING = 0.1


def score_pairs(decoder: Decoder, teacher: Teacher, plan: Plan, cache: FeatureCache) -> PairScores:
    """EK-FAC influence of the candidates of each split on its queries; a split that is cached is not computed again.

    Args:
        decoder: the teacher's decoder.
        teacher: a teacher whose method is `ekfac`.
        plan: the samples in role and split.
        cache: where the scores of a split are kept.
    Raises:
        SettingsError: the teacher asks for what kronfluence does not offer.
    """
    spec = teacher.spec
    if spec.damping != _DAMPING or spec.last_layers:
        raise SettingsError(
            "EK-FAC damps by a tenth of each layer's mean eigenvalue, and looks at all layers.",
            f"Set teacher.damping = {_DAMPING} and teacher.last_layers = 0.",
        )
    reference, tables = reference_of(plan, spec), []
    with tempfile.TemporaryDirectory(prefix="influcoder-ekfac-") as folder:
        for split in SPLITS:
            roles = [[e.sample for e in plan.entries if (e.split, e.role) == (split, role)] for role in ROLES]
            if all(roles):
                tables.append(_split(decoder, spec, [*roles, reference], cache, folder))
    return _joined(tables)


def reference_of(plan: Plan, spec: TeacherSpec) -> list[Sample]:
    """The samples of a plan that a curvature is taken on; none where the teacher has none."""
    reference = [e.sample for e in plan.entries if e.split == "train" and e.role in ("candidate", REFERENCE)]
    return reference[: spec.curved_on]


def measure_ceiling(
    decoder: Decoder,
    teacher: Teacher,
    scores: PairScores,
    roles: Sequence[Sequence[Sample]],
    other: Sequence[Sample],
    cache: FeatureCache,
) -> Reliability | None:
    """EK-FAC against itself with its factors fitted on other samples; what was scored once is read from the cache.

    EK-FAC projects nothing, so the fidelity of a projection is left out.

    Args:
        decoder: the teacher's decoder.
        teacher: a teacher whose method is `ekfac`.
        scores: its labels.
        roles: queries, candidates and reference samples of the teacher; all pairs of the first two are labelled.
        other: reference samples of the second opinion; its labels are drawn under another seed too, so that there
            is one even where the samples are the same.
        cache: where the second opinion is kept.
    Returns:
        None where fewer than 2 queries or 5 candidates can be ranked by both.
    """
    with tempfile.TemporaryDirectory(prefix="influcoder-ekfac-") as folder:
        again = _split(decoder, teacher.spec, [*roles[:2], other], cache, folder, seed=1)
    own, second = (table.block(again.queries, again.candidates) for table in (scores, again))
    shared = len({sample.hash for sample in roles[2]} & {sample.hash for sample in other})
    return reliability_of(own, second, against="reference", reference=len(other), shared=shared)


def _split(
    decoder: Decoder,
    spec: TeacherSpec,
    roles: Sequence[Sequence[Sample]],
    cache: FeatureCache,
    folder: str,
    seed: int = 0,
) -> PairScores:
    hashes = [[sample.hash for sample in role] for role in roles]
    content = [spec.damping, hashes, *([seed] if seed else [])]
    name = f"ekfac-{id_of(content)}"
    kept = cache.note(name)
    if kept is None:
        logger.info("EK-FAC: %d queries × %d candidates, curvature of %d samples", *map(len, hashes))
        queries, candidates, reference = (
            [tokenize(decoder.tokenizer, sample, spec.max_tokens) for sample in role] for role in roles
        )
        matrix = ekfac_influence(
            decoder, queries, candidates, reference, reduction=spec.reduction, seed=seed, folder=folder
        )
        cache.keep_note(name, json.dumps(matrix.tolist()).encode())
    else:
        matrix = np.array(json.loads(kept), np.float32)
    return PairScores(tuple(hashes[0]), tuple(hashes[1]), matrix)


def _joined(tables: Sequence[PairScores]) -> PairScores:
    """One table; pairs across splits have no score."""
    queries = tuple(value for table in tables for value in table.queries)
    candidates = tuple(value for table in tables for value in table.candidates)
    matrix = np.full((len(queries), len(candidates)), np.nan, np.float32)
    row = column = 0
    for table in tables:
        height, width = table.matrix.shape
        matrix[row : row + height, column : column + width] = table.matrix
        row, column = row + height, column + width
    return PairScores(queries, candidates, matrix)
