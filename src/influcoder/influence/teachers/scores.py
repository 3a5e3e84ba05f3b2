"""From influence features to influence."""

import numpy as np

from influcoder.core.errors import ShapeError
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.vectors import Vectors, products
from influcoder.settings.teacher import TeacherSpec


def exact_influence(
    spec: TeacherSpec, queries: FeatureTable, candidates: FeatureTable, reference: FeatureTable | None = None
) -> np.ndarray:
    """Exact influence of each candidate on each query, as a teacher defines it.

    `gradient-cosine`: the cosine of the loss gradients, the published default (arXiv 2606.13668).
    `gradient-dot`: their dot product, the first-order change of the query's loss when a gradient step is taken on
    the candidate (TracIn, arXiv 2002.08484, section 3, for one checkpoint and a learning rate of 1).
    `less`: the cosine of the query's gradient and Adam's step on the candidate (LESS, arXiv 2402.04333, section 2.2,
    for one checkpoint).
    `fisher`: the influence function with a damped Fisher as its curvature, see `damped_fisher`.

    Args:
        spec: the teacher's specification.
        queries: features of the queries.
        candidates: features of the candidates.
        reference: features of the samples that the Fisher is taken on; no other method looks at them.
    Returns:
        scores, shape (queries, candidates), float32.
    Raises:
        ShapeError: the features have different dimensions, or there is no reference for a Fisher.
    """
    if spec.method == "less":
        half = queries.vectors.shape[1] // 2
        return influence(queries.vectors, candidates.vectors, slice(0, half), slice(half, None))
    cosines = influence(queries.vectors, candidates.vectors)
    if spec.method == "gradient-dot":
        return cosines * queries.norms[:, None] * candidates.norms[None, :]
    if spec.method == "fisher":
        return damped_fisher(cosines, queries, candidates, reference, spec.damping)
    return cosines


def as_cosine(spec: TeacherSpec) -> TeacherSpec:
    """The teacher whose scores are cosines of the same features."""
    return spec if spec.method == "less" else spec.model_copy(update={"method": "gradient-cosine"})


def influence(
    queries: Vectors, candidates: Vectors, columns: slice = slice(None), others: slice = slice(None)
) -> np.ndarray:
    """Cosine of the gradients of each query and each candidate.

    Args:
        queries: influence features, unit rows, shape (queries, dimensions).
        candidates: influence features, unit rows, shape (candidates, dimensions).
        columns: which part of a query's feature counts.
        others: which part of a candidate's.
    Returns:
        scores between -1 and 1, shape (queries, candidates).
    Raises:
        ShapeError: the features have different dimensions.
    """
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1] != candidates.shape[1]:
        raise ShapeError(f"features of shapes {queries.shape} and {candidates.shape} can't be compared.")
    return np.clip(products(queries, candidates, columns, others), -1.0, 1.0)


def damped_fisher(
    cosines: np.ndarray, queries: FeatureTable, candidates: FeatureTable, reference: FeatureTable | None, damping: float
) -> np.ndarray:
    """qᵀ(F + λI)⁻¹c with the empirical Fisher F = RᵀR/n of n reference gradients, solved in sample space.

    By the Woodbury identity it is (q·c - qRᵀ(nλI + RRᵀ)⁻¹Rc) / λ: the system has n unknowns, whatever the gradient's
    dimensions. An influence function (Koh and Liang 2017, arXiv 1703.04730, section 2.1, positive where the candidate
    lowers the query's loss); λ is the damping times the mean of F's eigenvalues that are not zero (Grosse et al. 2023,
    arXiv 2308.03296, damp by the mean eigenvalue).

    Args:
        cosines: of queries and candidates, shape (queries, candidates).
        queries: features of the queries.
        candidates: features of the candidates.
        reference: features of the samples that F is taken on.
        damping: relative to the mean eigenvalue.
    Returns:
        scores, shape (queries, candidates), float32.
    Raises:
        ShapeError: there is no reference.
    """
    if reference is None or not len(reference.hashes):
        raise ShapeError("a damped Fisher needs gradients of reference samples.", "Set teacher.reference above 0.")
    n = len(reference.hashes)
    dots = cosines.astype(np.float64) * queries.norms[:, None] * candidates.norms[None, :]
    kernel = _dots(reference, reference)
    shift = damping * float(np.trace(kernel)) / n  # n · λ, with n eigenvalues whose sum is trace / n
    solved = np.linalg.solve(kernel + shift * np.eye(n), _dots(reference, candidates))
    return ((dots - _dots(queries, reference) @ solved) / (shift / n)).astype(np.float32)


def _dots(left: FeatureTable, right: FeatureTable) -> np.ndarray:
    scale = left.norms.astype(np.float64)[:, None] * right.norms.astype(np.float64)[None, :]
    return products(left.vectors, right.vectors) * scale
