"""Weights from estimates: what each mode promises, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from influcoder.attribution.steering import Limits, Steering, Weighting, effective_samples, estimates, weights_of
from influcoder.attribution.steering.trust import doubt, draw_spot
from influcoder.core.errors import SampleError, SettingsError, ShapeError
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import TrainingSamples, solve
from influcoder.samples.splits import split_of
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import agreement

VALUES = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1, 1))


@given(VALUES, st.sampled_from(["rank", "value"]), st.floats(0.01, 1), st.floats(0.2, 5))
def test_weights_are_probabilities_with_a_floor_in_the_order_of_the_estimates(values, scale, floor, temperature):
    weights = weights_of(values, Weighting(scale=scale, floor=floor, temperature=temperature))
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= floor / len(values) - 1e-12
    order = np.argsort(values, kind="stable")
    assert (np.diff(weights[order]) >= -1e-12).all()
    assert 1 - 1e-9 <= effective_samples(weights) <= len(values) + 1e-9


@given(VALUES, st.floats(0, 0.99))
def test_the_lowest_share_is_dropped_and_the_others_are_alike(values, share):
    weights = weights_of(values, Weighting("drop", share=share))
    dropped = weights == 0
    assert dropped.sum() == int(share * len(values))
    assert np.unique(weights[~dropped]).size == 1
    assert weights.sum() == pytest.approx(1)
    assert not dropped.any() or values[dropped].max() <= values[~dropped].min()


def test_temperature_is_what_it_says():
    values = np.random.default_rng(0).normal(size=4000)
    weights = weights_of(values, Weighting(floor=1e-9))
    high, low = (weights[np.abs(values - place).argmin()] for place in (1.0, 0.0))
    assert high / low == pytest.approx(np.e, rel=0.1)
    # Lognormal weights of deviation 1: Σw²/(Σw)² is e/n.
    assert effective_samples(weights) == pytest.approx(len(values) / np.e, rel=0.1)
    assert effective_samples(weights_of(values, Weighting(temperature=1e6))) == pytest.approx(len(values), rel=1e-3)


def test_ranks_do_not_see_how_estimates_are_spread():
    values = np.random.default_rng(0).normal(size=50)
    np.testing.assert_allclose(weights_of(values, Weighting()), weights_of(np.exp(5 * values), Weighting()))
    apart = weights_of(np.exp(5 * values), Weighting(scale="value"))
    assert np.abs(apart - weights_of(values, Weighting(scale="value"))).max() > 0.05


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_estimates_that_are_not_finite_are_refused(bad):
    with pytest.raises(ShapeError, match="2 of 5 estimates are not finite, the first that of row 1"):
        weights_of(np.array([0.1, bad, 0.2, bad, 0.3]), Weighting())
    with pytest.raises(ShapeError, match="shape"):
        weights_of(np.zeros(0), Weighting())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Weighting("favour"),
        lambda: Weighting(scale="log"),
        lambda: Weighting(temperature=0),
        lambda: Weighting(floor=0),
        lambda: Weighting("drop", share=1.0),
        lambda: Limits(when_untrusted="pray"),
        lambda: Limits(floor=1.0),
        lambda: Limits(margin=-0.1),
        lambda: Steering(labels=0),
        lambda: Steering(teacher=TeacherSpec(method="less")),
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        wrong()


def test_pooled_estimates_are_the_means_of_those_of_pairs(tiny_decoder, samples):
    chosen, queries, pool = samples[:50], samples[50:58], samples[58:]
    labels = np.random.default_rng(0).normal(size=(50, 4))
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    cosines = labels @ labels.T
    np.fill_diagonal(cosines, np.nan)
    encoder = Encoder.of(
        solve(TrainingSamples(chosen, cosines, np.arange(20), np.arange(20, 50)), tiny_decoder, 32, 0)[0]
    )
    pairs = encoder.scores(queries, pool)
    np.testing.assert_allclose(estimates(encoder, queries, pool), pairs.mean(0), atol=1e-5)


def measured(noise, seed=0):
    labels = np.random.default_rng(7).normal(size=(16, 48))
    return agreement(labels + noise * np.random.default_rng(seed).normal(size=labels.shape), labels)


def test_trust_ends_below_the_floor_and_after_a_fall_beyond_chance_and_the_margin():
    good, worse, noise = measured(0.3), measured(1.5), measured(1e6)
    assert doubt(good, None, Limits()) == ""
    assert "not above 0 beyond chance" in doubt(noise, None, Limits())
    assert "not above 0.97" in doubt(good, None, Limits(floor=0.97))
    assert "has fallen by" in doubt(worse, good, Limits())
    assert doubt(worse, good, Limits(margin=0.9)) == ""
    assert doubt(measured(0.31, seed=1), good, Limits()) == ""


def test_agreement_that_can_not_be_measured_is_no_ground_for_trust():
    labels = np.random.default_rng(7).normal(size=(5, 9))
    with np.errstate(invalid="ignore"):
        assert "can't be measured" in doubt(agreement(np.zeros((5, 9)), labels), None, Limits())
        assert "can't be measured" in doubt(agreement(labels, np.full((5, 9), np.nan)), None, Limits())


def test_spot_samples_come_from_the_report_side_and_are_left_out_of_the_rest(samples):
    queries, pool = samples[:10], samples[10:]
    held_out = sum(split_of(sample) == "report" for sample in pool)
    spot, free = draw_spot(queries, pool, (6, held_out), 0)
    assert {split_of(sample) for sample in spot.candidates} == {"report"}
    assert spot.possibly_learnt == 0
    assert len(spot.queries) == 6
    assert set(spot.queries) <= set(queries)
    hashes = [sample.hash for sample in (*spot.candidates, *free)]
    assert sorted(hashes) == sorted(sample.hash for sample in pool)
    again, _ = draw_spot(queries, pool, (6, held_out), 0)
    assert again == spot
    assert draw_spot(queries, pool, (6, held_out), 1)[0] != spot
    assert draw_spot(queries, pool, (6, held_out + 2), 0)[0].possibly_learnt == 2


@pytest.mark.parametrize(("queries", "pool"), [(1, 40), (10, 8)])
def test_too_few_samples_to_measure_on_are_refused(samples, queries, pool):
    with pytest.raises(SampleError, match="too few"):
        draw_spot(samples[:queries], samples[queries : queries + pool], (16, 48), 0)
