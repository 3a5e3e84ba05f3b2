import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from influcoder.core.errors import ShapeError
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.teachers.scores import exact_influence, influence
from influcoder.settings.teacher import TeacherSpec

ROWS = arrays(np.float32, st.tuples(st.integers(1, 6), st.just(9)), elements=st.floats(-10, 10, width=32))


def unit(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


@given(queries=ROWS, candidates=ROWS)
def test_influence_is_the_cosine(queries, candidates):
    scores = influence(unit(queries), unit(candidates))
    assert scores.shape == (len(queries), len(candidates))
    assert np.abs(scores).max() <= 1
    np.testing.assert_allclose(scores, unit(queries) @ unit(candidates).T, atol=1e-6)


def test_influence_of_a_sample_on_itself_is_one():
    rows = unit(np.random.default_rng(0).normal(size=(20, 500)).astype(np.float32))
    np.testing.assert_allclose(np.diag(influence(rows, rows)), 1, atol=1e-6)
    np.testing.assert_allclose(np.diag(influence(rows, -rows)), -1, atol=1e-6)


def test_zero_gradient_influences_nothing():
    assert influence(np.zeros((1, 3)), unit(np.ones((2, 3)))).tolist() == [[0, 0]]


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (2, 3)), ((2, 3), (3,)), ((1, 2, 3), (2, 3))])
def test_features_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ShapeError, match="can't be compared"):
        influence(*map(np.ones, shapes))


def table(gradients, storage):
    """What the cache holds of some gradients."""
    norms = np.linalg.norm(gradients, axis=1)
    none = np.zeros(len(gradients), np.float32)
    hashes = tuple(str(row) for row in range(len(gradients)))
    return FeatureTable(hashes, (gradients / norms[:, None]).astype(storage), norms.astype(np.float32), none, none)


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 1e-5), ("float16", 2e-3)])
def test_each_method_is_its_definition(storage, tolerance):
    gradients = np.random.default_rng(0).normal(size=(9, 400)) * np.arange(1, 10)[:, None]
    queries, candidates = table(gradients[:3], storage), table(gradients[3:], storage)
    dots = gradients[:3] @ gradients[3:].T
    lengths = np.outer(*(np.linalg.norm(part, axis=1) for part in (gradients[:3], gradients[3:])))
    dot = exact_influence(TeacherSpec(method="gradient-dot"), queries, candidates)
    assert np.abs(dot - dots).max() <= tolerance * lengths.max()
    cosine = exact_influence(TeacherSpec(), queries, candidates)
    assert np.abs(cosine - dots / lengths).max() <= tolerance
