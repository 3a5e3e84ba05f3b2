import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from influcoder.errors import ShapeError
from influcoder.influence.scores import influence

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
