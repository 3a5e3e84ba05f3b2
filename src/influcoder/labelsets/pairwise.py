"""Labels of teachers that score pairs: computed split by split, each kept when it is done."""

import json
import logging
import tempfile
from collections.abc import Sequence

import numpy as np

from influcoder.decoder import Decoder
from influcoder.errors import SettingsError
from influcoder.influence.cache import FeatureCache
from influcoder.influence.ekfac import ekfac_influence
from influcoder.influence.pairs import PairScores
from influcoder.influence.teacher import Teacher, TeacherSpec
from influcoder.influence.tokens import tokenize
from influcoder.labelsets.plan import REFERENCE, ROLES, Plan
from influcoder.samples import SPLITS, Sample
from influcoder.store import sha256

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
    reference = [e.sample for e in plan.entries if e.split == "train" and e.role in ("candidate", REFERENCE)]
    tables = []
    with tempfile.TemporaryDirectory(prefix="influcoder-ekfac-") as folder:
        for split in SPLITS:
            roles = [[e.sample for e in plan.entries if (e.split, e.role) == (split, role)] for role in ROLES]
            if all(roles):
                tables.append(_split(decoder, spec, [*roles, reference[: spec.curved_on]], cache, folder))
    return _joined(tables)


def _split(
    decoder: Decoder, spec: TeacherSpec, roles: Sequence[Sequence[Sample]], cache: FeatureCache, folder: str
) -> PairScores:
    hashes = [[sample.hash for sample in role] for role in roles]
    name = f"ekfac-{sha256(json.dumps([spec.damping, hashes]).encode())[:20]}"
    kept = cache.note(name)
    if kept is None:
        logger.info("EK-FAC: %d queries × %d candidates, curvature of %d samples", *map(len, hashes))
        queries, candidates, reference = (
            [tokenize(decoder.tokenizer, sample, spec.max_tokens) for sample in role] for role in roles
        )
        matrix = ekfac_influence(decoder, queries, candidates, reference, reduction=spec.reduction, folder=folder)
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
