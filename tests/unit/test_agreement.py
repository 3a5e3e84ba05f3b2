import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import ndcg_score

from influcoder.core.errors import ShapeError
from influcoder.statistics.agreement import (
    aggregated_spearman,
    agreement,
    is_square,
    ndcg_at_k,
    paired_difference,
    per_query_spearman,
    precision_at_k,
    unpaired_difference,
)
from influcoder.statistics.bootstrap import resampled_correlation

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


@given(pair=ANY, spoilt=st.sampled_from([(0, np.nan), (0, np.inf), (1, np.inf), (1, -np.inf)]), data=st.data())
def test_rho_is_nan_only_where_a_row_is_not_finite(pair, spoilt, data):
    before = per_query_spearman(*pair)
    query = data.draw(st.integers(0, len(before) - 1))
    side, value = spoilt
    pair[side][query, data.draw(st.integers(0, pair[side].shape[1] - 1))] = value
    before[query] = np.nan
    np.testing.assert_array_equal(per_query_spearman(*pair), before)


@given(pair=st.one_of(TIED, ANY), data=st.data())
def test_a_pair_without_label_is_as_if_it_were_not_there(pair, data):
    scores, labels = pair
    hidden = data.draw(arrays(bool, labels.shape, elements=st.booleans()))
    holes = np.where(hidden, np.nan, labels)
    found = per_query_spearman(np.where(hidden, data.draw(st.sampled_from([0.5, np.nan])), scores), holes)
    for row, rho in enumerate(found):
        left, right = scores[row, ~hidden[row]], labels[row, ~hidden[row]]
        if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
            assert np.isnan(rho)
        else:
            assert rho == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-9)


def test_a_square_without_diagonal_ranks_every_sample_by_all_others():
    scores, labels = noisy(12, 12, 0.5)
    np.fill_diagonal(labels, np.nan)
    found = agreement(scores, labels)
    others = ~np.eye(12, dtype=bool)
    expected = [stats.spearmanr(scores[i, others[i]], labels[i, others[i]]).statistic for i in range(12)]
    np.testing.assert_allclose(found.per_query, expected, atol=1e-12)
    assert found.candidates == 11
    assert is_square(labels)
    assert (found.draws.queries == found.draws.candidates).all()
    means = [np.nanmean(np.where(others, values, np.nan), axis=0) for values in (scores, labels)]
    assert found.aggregated_rho.value == pytest.approx(stats.spearmanr(*means).statistic)


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
    found = agreement(*noisy(30, 40, 1.0)).figures()
    assert tuple(found) == FIGURES
    for interval in found.values():
        assert interval.lo < interval.value < interval.hi
        assert interval.queries == 30


def test_queries_that_are_not_finite_change_no_figure():
    scores, labels = noisy(12, 40, 1.0)
    spoilt = agreement(np.vstack([scores, np.full(40, np.nan)]), np.vstack([labels, labels[0]])).figures()
    assert tuple(spoilt) == FIGURES
    for name, found in agreement(scores, labels).figures().items():
        assert spoilt[name].value == pytest.approx(found.value)
        assert spoilt[name].queries == 12


def test_k_is_a_fifth_of_the_candidates_at_most():
    scores, labels = noisy(12, 20, 1.0)
    assert agreement(scores, labels, k=10).precision == agreement(scores, labels, k=4).precision
    assert agreement(scores, labels, k=3).precision != agreement(scores, labels, k=4).precision


def test_same_seed_gives_the_same_interval_and_another_one_another():
    pair = noisy(30, 20, 1.0)
    assert agreement(*pair, seed=1).rho == agreement(*pair, seed=1).rho
    assert agreement(*pair, seed=1).rho != agreement(*pair, seed=2).rho


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


class Population:
    """Samples with exact influence and an encoder that is wrong about some samples, whoever asks about them."""

    def __init__(self, size=3000, wrong=1.5, seed=0):
        generator = np.random.default_rng(seed)
        self.features = generator.normal(size=(size, 8))
        self.bias = wrong * generator.normal(size=size)
        self.noise = generator.normal(size=(size, 8)) * 0.5
        rows, columns = np.arange(300), np.arange(300, size)
        self.truth = per_query_spearman(*self.pair(rows, columns)).mean()

    def pair(self, queries, candidates):
        labels = self.features[queries] @ self.features[candidates].T
        seen = self.features + self.noise
        return seen[queries] @ seen[candidates].T + self.bias[candidates], labels

    def draw(self, generator, queries, candidates):
        rows = generator.permutation(len(self.features))[: queries + candidates]
        return self.pair(rows[:queries], rows[queries:])

    def draw_square(self, generator, samples):
        rows = generator.permutation(len(self.features))[:samples]
        scores, labels = self.pair(rows, rows)
        np.fill_diagonal(labels, np.nan)
        return scores, labels


POPULATION = Population()


def coverage(intervals, truth):
    return np.mean([found.lo <= truth <= found.hi for found in intervals])


def test_interval_covers_the_truth_although_all_queries_share_their_candidates():
    generator = np.random.default_rng(1)
    found = [agreement(*POPULATION.draw(generator, 40, 24), resamples=200) for _ in range(100)]
    assert coverage([item.rho for item in found], POPULATION.truth) >= 0.92
    # What resampling queries alone would have claimed, and why it is not done.
    narrow = [stats.t.interval(0.95, 39, np.mean(f.per_query), stats.sem(f.per_query)) for f in found]
    assert np.mean([lo <= POPULATION.truth <= hi for lo, hi in narrow]) < 0.8


def test_interval_of_a_square_covers_the_truth_and_is_narrower_for_the_same_labels():
    generator = np.random.default_rng(2)
    square = [agreement(*POPULATION.draw_square(generator, 64), resamples=200).rho for _ in range(100)]
    blocks = [agreement(*POPULATION.draw(generator, 40, 24), resamples=200).rho for _ in range(30)]
    assert coverage(square, POPULATION.truth) >= 0.9
    assert np.mean([i.hi - i.lo for i in square]) < 0.8 * np.mean([i.hi - i.lo for i in blocks])


def test_interval_of_an_unpaired_difference_covers_the_truth():
    generator = np.random.default_rng(3)
    other = Population(wrong=3.0, seed=1)
    found = [
        unpaired_difference(
            agreement(*other.draw_square(generator, 40), resamples=200),
            agreement(*POPULATION.draw_square(generator, 40), resamples=200),
        )
        for _ in range(100)
    ]
    assert coverage(found, other.truth - POPULATION.truth) >= 0.9
    assert other.truth < POPULATION.truth - 0.1


def test_interval_of_fewer_than_two_queries_is_open():
    scores, labels = noisy(3, 10, 1.0)
    scores[1:] = 0.5
    one = agreement(scores, labels).rho
    scores[0] = 0.5
    none = agreement(scores, labels).rho
    assert (one.queries, none.queries) == (1, 0)
    assert np.isfinite(one.value)
    assert np.isnan([one.lo, one.hi, none.value, none.lo, none.hi]).all()


def test_pairing_takes_the_draw_of_queries_and_candidates_out():
    scores, labels = POPULATION.draw(np.random.default_rng(4), 40, 24)
    better = scores + 0.15 * (labels - scores)
    left, right = agreement(better, labels), agreement(scores, labels)
    paired, unpaired = paired_difference(left, right), unpaired_difference(left, right)
    assert paired.value == pytest.approx(unpaired.value)
    assert 0 < paired.lo < paired.value < paired.hi
    assert unpaired.lo < 0 < unpaired.hi


def test_difference_of_a_ranking_and_itself_is_zero():
    found = agreement(*noisy(20, 30, 1.0))
    paired = paired_difference(found, found)
    assert (paired.value, paired.lo, paired.hi) == (0, 0, 0)
    unpaired = unpaired_difference(found, found)
    assert unpaired.value == 0
    assert unpaired.lo < 0 < unpaired.hi


def test_paired_difference_leaves_out_what_is_undefined_or_counts_it_as_told():
    scores, labels = noisy(6, 20, 0.5)
    holes = scores.copy()
    holes[2] = 1.0
    whole, spoilt = agreement(scores, labels), agreement(holes, labels)
    rest = np.delete(whole.per_query, 2)
    assert paired_difference(spoilt, whole).queries == 5
    assert paired_difference(spoilt, whole).value == 0
    counted = paired_difference(spoilt, whole, undefined=0.0)
    assert counted.queries == 6
    assert counted.value == pytest.approx(rest.sum() / 6 - whole.per_query.mean())
    assert paired_difference(whole, spoilt, undefined=0.0).queries == 5


def test_rankings_of_other_queries_are_not_paired():
    with pytest.raises(ShapeError, match="paired values"):
        paired_difference(agreement(*noisy(3, 10, 1.0)), agreement(*noisy(4, 10, 1.0)))


@given(pair=ANY, seed=st.integers(0, 9))
def test_resampled_rho_is_the_weighted_correlation_of_ranks(pair, seed):
    left, right = (stats.rankdata(values, axis=1) for values in pair)
    weights = np.random.default_rng(seed).multinomial(left.shape[1], np.full(left.shape[1], 1 / left.shape[1]), size=3)
    found = resampled_correlation(left, right, weights)
    for row in range(len(left)):
        for draw, counts in enumerate(weights):
            x, y = np.repeat(left[row], counts), np.repeat(right[row], counts)
            if np.ptp(x) == 0 or np.ptp(y) == 0:
                assert np.isnan(found[draw, row])
            else:
                assert found[draw, row] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-7)


def test_a_query_with_fewer_labels_than_the_top_has_its_own_top():
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(2, 4, 60))
    labels[1, 7:] = np.nan
    found = agreement(scores, labels)
    alone = agreement(scores[1:2, :7], labels[1:2, :7], k=7)
    assert found.per_query[1] == pytest.approx(alone.per_query[0])
    assert np.isfinite([found.ndcg.value, found.precision.value]).all()
    assert precision_at_k(scores[1, :7], labels[1, :7], 10) == 1.0
    assert ndcg_at_k(labels[1, :7], labels[1, :7], 10) == pytest.approx(1.0)
    assert ndcg_at_k(scores[1, :7], labels[1, :7], 10) == pytest.approx(ndcg_at_k(scores[1, :7], labels[1, :7], 7))
