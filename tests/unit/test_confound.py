"""Partial rank correlation, against the textbook's formula and the inverse of the correlation matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.confound import partial_spearman
from influcoder.core.errors import ShapeError


def sample(seed: int, candidates: int = 40, covariates: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    held = random.standard_normal((candidates, covariates))
    common = random.standard_normal(candidates)
    rows = [common + held.sum(1) + random.standard_normal(candidates) for _ in range(2)]
    return rows[0][None], rows[1][None], held


@given(st.integers(0, 10_000))
def test_one_covariate_follows_the_textbook(seed):
    scores, labels, held = sample(seed)
    ab, ac, bc = (
        stats.spearmanr(left, right).statistic
        for left, right in ((scores[0], labels[0]), (scores[0], held[:, 0]), (labels[0], held[:, 0]))
    )
    expected = (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))
    np.testing.assert_allclose(partial_spearman(scores, labels, held), [expected], atol=1e-10)


@given(st.integers(0, 10_000), st.integers(2, 4))
def test_many_covariates_follow_the_inverse_correlation_matrix(seed, covariates):
    scores, labels, held = sample(seed, covariates=covariates)
    inverse = np.linalg.inv(np.corrcoef(stats.rankdata(np.vstack([scores, labels, held.T]), axis=1)))
    expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    np.testing.assert_allclose(partial_spearman(scores, labels, held), [expected], atol=1e-9)


def test_a_ranking_by_length_alone_is_worth_nothing_once_length_is_held():
    random = np.random.default_rng(0)
    lengths = random.permutation(500)[:, None].astype(float)
    labels, noisy = (lengths.T + 100 * random.standard_normal((1, 500)) for _ in range(2))
    assert stats.spearmanr(noisy[0], labels[0]).statistic > 0.5
    assert abs(partial_spearman(noisy, labels, lengths)[0]) < 0.1
    assert np.isnan(partial_spearman(lengths.T, labels, lengths)[0])


def test_pairs_without_a_label_count_nowhere():
    scores, labels, held = sample(1)
    few = labels.copy()
    few[0, :5] = np.nan
    np.testing.assert_allclose(
        partial_spearman(scores, few, held), partial_spearman(scores[:, 5:], labels[:, 5:], held[5:])
    )
    few[0, 3:] = np.nan
    assert np.isnan(partial_spearman(scores, few, held)[0])


def test_shapes_that_do_not_fit_are_refused():
    scores, labels, held = sample(2)
    with pytest.raises(ShapeError):
        partial_spearman(scores, labels[:, 1:], held)
    with pytest.raises(ShapeError):
        partial_spearman(scores, labels, held[1:])
