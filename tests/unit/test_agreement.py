import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import ndcg_score

from influcoder.agreement import (
    aggregated_spearman,
    agreement,
    mean_interval,
    ndcg_at_k,
    paired_difference,
    per_query_spearman,
    precision_at_k,
    unpaired_difference,
)
from influcoder.errors import ShapeError

SHAPES = st.tuples(st.integers(1, 6), st.integers(3, 12))
# Few distinct values make ties, and constant rows now and then.
TIED = SHAPES.flatmap(lambda shape: st.tuples(*[arrays(float, shape, elements=st.integers(0, 4))] * 2))
ANY = SHAPES.flatmap(lambda shape: st.tuples(*[arrays(float, shape, elements=st.floats(-1, 1))] * 2))
BAD = st.sampled_from([np.nan, np.inf, -np.inf])
FIGURES = ("rho", "aggregated_rho", "tau", "precision", "ndcg")


def noisy(queries, candidates, noise, seed=0):
    """Labels, and scores that follow them up to noise."""
    generator = np.random.default_rng(seed)
    labels = generator.normal(size=(queries, candidates))
    return labels + noise * generator.normal(size=labels.shape), labels


def row_by_row(statistic, scores, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return np.array([statistic(left, right).statistic for left, right in zip(scores, labels, strict=True)])


@given(pair=st.one_of(TIED, ANY))
def test_per_query_rho_is_scipys_row_by_row(pair):
    np.testing.assert_allclose(per_query_spearman(*pair), row_by_row(stats.spearmanr, *pair), atol=1e-12)


@given(pair=ANY, value=BAD, side=st.integers(0, 1), data=st.data())
def test_rho_is_nan_only_where_a_row_is_not_finite(pair, value, side, data):
    before = per_query_spearman(*pair)
    query = data.draw(st.integers(0, len(before) - 1))
    pair[side][query, data.draw(st.integers(0, pair[side].shape[1] - 1))] = value
    before[query] = np.nan
    np.testing.assert_array_equal(per_query_spearman(*pair), before)


@pytest.mark.parametrize("side", [0, 1])
def test_rho_is_nan_only_where_a_row_is_constant(side):
    pair = noisy(4, 10, 0.5)
    pair[side][2] = 0.25
    assert np.isnan(per_query_spearman(*pair)).tolist() == [False, False, True, False]


@given(pair=ANY)
def test_rho_stays_within_its_range_and_does_not_care_who_is_who(pair):
    rho = per_query_spearman(*pair)
    usable = rho[np.isfinite(rho)]
    assert ((usable >= -1) & (usable <= 1)).all()
    np.testing.assert_array_equal(rho, per_query_spearman(*pair[::-1]))


@given(pair=TIED, order=st.randoms(use_true_random=False))
def test_rho_does_not_depend_on_the_order_of_candidates(pair, order):
    columns = list(range(pair[0].shape[1]))
    order.shuffle(columns)
    np.testing.assert_allclose(
        per_query_spearman(pair[0][:, columns], pair[1][:, columns]), per_query_spearman(*pair), atol=1e-12
    )


@pytest.mark.parametrize(
    "transform", [lambda x: 3 * x - 7, np.exp, np.arctan, lambda x: x**3], ids=["affine", "exp", "arctan", "cube"]
)
def test_ranks_do_not_change_under_a_monotone_transform(transform):
    scores, labels = noisy(20, 30, 1.0)
    before, after = agreement(scores, labels), agreement(transform(scores), labels)
    np.testing.assert_allclose(after.per_query, before.per_query, atol=1e-12)
    for name in ("rho", "tau", "precision", "ndcg"):
        assert after.figures()[name] == before.figures()[name]


def test_every_figure_of_a_perfect_ranking_is_one():
    _, labels = noisy(20, 30, 0)
    found = agreement(2 * labels + 1, labels)
    assert [found.figures()[name].value for name in FIGURES] == pytest.approx([1] * 5)
    assert found.candidates == 30


def test_every_figure_of_a_reversed_ranking_is_at_its_floor():
    _, labels = noisy(20, 30, 0)
    found = agreement(-labels, labels)
    assert [found.figures()[name].value for name in ("rho", "aggregated_rho", "tau", "precision")] == pytest.approx(
        [-1, -1, -1, 0]
    )
    assert found.ndcg.value < 0.2


def test_figures_are_means_over_queries():
    scores, labels = noisy(12, 40, 1.0)
    found = agreement(scores, labels, k=5)
    pairs = list(zip(scores, labels, strict=True))
    assert found.rho.value == pytest.approx(row_by_row(stats.spearmanr, scores, labels).mean())
    assert found.tau.value == pytest.approx(row_by_row(stats.kendalltau, scores, labels).mean())
    assert found.precision.value == pytest.approx(np.mean([precision_at_k(*pair, 5) for pair in pairs]))
    assert found.ndcg.value == pytest.approx(np.mean([ndcg_at_k(*pair, 5) for pair in pairs]))
    assert found.aggregated_rho.value == pytest.approx(stats.spearmanr(scores.mean(0), labels.mean(0)).statistic)


def test_intervals_enclose_their_figures():
    for interval in agreement(*noisy(30, 40, 1.0)).figures().values():
        assert interval.lo < interval.value < interval.hi
        assert interval.queries == 30


def test_queries_that_are_not_finite_change_no_figure():
    scores, labels = noisy(12, 40, 1.0)
    before = agreement(scores, labels)
    spoilt = np.vstack([scores, np.full(40, np.nan)])
    assert agreement(spoilt, np.vstack([labels, labels[0]])).figures() == before.figures()


def test_k_is_a_fifth_of_the_candidates_at_most():
    scores, labels = noisy(12, 20, 1.0)
    assert agreement(scores, labels, k=10).precision == agreement(scores, labels, k=4).precision
    assert agreement(scores, labels, k=3).precision != agreement(scores, labels, k=4).precision


def test_same_seed_gives_the_same_interval_and_another_one_another():
    values = np.random.default_rng(0).normal(size=30)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_precision_counts_the_common_part_of_both_tops():
    labels = np.array([9.0, 8, 7, 6, 5, 4])
    scores = np.array([9.0, 1, 8, 7, 2, 0])
    assert [precision_at_k(scores, labels, k) for k in (1, 2, 3, 4)] == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4])


@pytest.mark.parametrize("k", [1, 3, 10, 25])
def test_ndcg_is_scikit_learns(k):
    scores, labels = noisy(15, 25, 1.0)
    for left, right in zip(scores, labels, strict=True):
        expected = ndcg_score([right - right.min()], [left], k=k)
        assert ndcg_at_k(left, right, k) == pytest.approx(expected)


def test_ndcg_of_constant_labels_is_undefined():
    assert np.isnan(ndcg_at_k(np.arange(5.0), np.ones(5), 3))


@pytest.mark.parametrize("figure", [per_query_spearman, aggregated_spearman, agreement])
@pytest.mark.parametrize("shapes", [((2, 5), (2, 6)), ((2, 5), (3, 5)), ((5,), (5,)), ((2, 2), (2, 2))])
def test_shapes_that_do_not_fit_are_refused(figure, shapes):
    with pytest.raises(ShapeError, match="do not fit|can't be ranked"):
        figure(*map(np.zeros, shapes))


def test_interval_of_a_mean_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    intervals = [mean_interval(generator.normal(0.3, 0.2, size=40), resamples=400, seed=seed) for seed in range(200)]
    assert 0.88 <= np.mean([interval.lo <= 0.3 <= interval.hi for interval in intervals]) <= 0.99


def test_interval_of_an_unpaired_difference_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    intervals = [
        unpaired_difference(generator.normal(0.1, 0.1, 40), generator.normal(0.3, 0.3, 80), 400, seed)
        for seed in range(200)
    ]
    assert 0.88 <= np.mean([interval.lo <= -0.2 <= interval.hi for interval in intervals]) <= 0.99


def test_lower_level_gives_a_narrower_interval_within_the_wider_one():
    values = np.random.default_rng(0).normal(size=50)
    wide, narrow = mean_interval(values, level=0.95), mean_interval(values, level=0.5)
    assert wide.lo < narrow.lo < narrow.hi < wide.hi


def test_interval_of_fewer_than_two_queries_is_open():
    one, none = mean_interval(np.array([0.4, np.nan])), mean_interval(np.array([np.nan]))
    assert (one.value, one.queries, none.queries) == (0.4, 1, 0)
    assert np.isnan([one.lo, one.hi, none.value, none.lo, none.hi]).all()


def test_pairing_takes_the_queries_own_spread_out():
    generator = np.random.default_rng(0)
    hardness = generator.normal(size=60)
    left, right = hardness + 0.1 + 0.01 * generator.normal(size=60), hardness
    paired, unpaired = paired_difference(left, right), unpaired_difference(left, right)
    assert paired.value == pytest.approx(unpaired.value)
    assert 0 < paired.lo < paired.hi < 0.2
    assert unpaired.lo < 0 < unpaired.hi


def test_difference_of_a_set_and_itself_is_zero():
    values = np.random.default_rng(0).normal(size=20)
    paired = paired_difference(values, values)
    assert (paired.value, paired.lo, paired.hi) == (0, 0, 0)
    unpaired = unpaired_difference(values, values)
    assert unpaired.value == 0
    assert unpaired.lo < 0 < unpaired.hi


def test_differences_leave_out_undefined_queries():
    left, right = np.array([0.5, np.nan, 0.7, 0.9]), np.array([0.1, 0.2, np.nan, 0.3])
    assert paired_difference(left, right).queries == 2
    assert paired_difference(left, right).value == pytest.approx(0.5)
    assert unpaired_difference(left, right).queries == 3
    assert unpaired_difference(left, right).value == pytest.approx(0.7 - 0.2)


def test_difference_of_too_few_queries_is_open():
    found = unpaired_difference(np.array([0.5, np.nan]), np.ones(9))
    assert np.isnan([found.value, found.lo, found.hi]).all()


def test_paired_values_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="paired values"):
        paired_difference(np.zeros(3), np.zeros(4))
