"""E-values against brute-force Gaussian densities and simulation, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from influcoder.statistics.sequential import (
    Contrasts,
    against_reference,
    change_now,
    change_weights,
    confidence_sequence,
    contrasts,
    excluded,
    log_evidence,
    log_recovery,
)

SCALE = 0.15
MARGIN = 0.05
means = st.lists(st.floats(-1, 1), min_size=3, max_size=8)
errors = st.lists(st.floats(0.01, 0.3), min_size=8, max_size=8)


def arrays(values, spreads):
    return np.array(values), np.square(spreads[: len(values)])


def density(values, variances, after, size):
    """Log density of the differences from the first value, where those from `after` on are lower by `size`."""
    differences = np.eye(len(values))[1:] - np.eye(len(values))[0]
    shift = -size * (np.arange(len(values)) >= after)
    covariance = differences @ np.diag(variances) @ differences.T
    return stats.multivariate_normal(differences @ shift, covariance).logpdf(differences @ values)


@given(means, errors, st.floats(0.01, 0.4))
def test_ratio_is_that_of_the_differences_whatever_the_level(values, spreads, size):
    values, variances = arrays(values, spreads)
    found = contrasts(values, variances).log_ratio(size)
    for place, ratio in enumerate(found):
        expected = density(values, variances, place + 1, size) - density(values, variances, place + 1, 0)
        assert ratio == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_flat_prior_is_the_limit_of_a_wide_one():
    values, variances = arrays([0.4, 0.35, 0.2, 0.25], [0.04, 0.06, 0.05, 0.03])
    wide = 1e6 * np.ones((4, 4)) + np.diag(variances)
    for place, ratio in enumerate(contrasts(values, variances).log_ratio(0.1), start=1):
        shift = -0.1 * (np.arange(4) >= place)
        expected = stats.multivariate_normal(shift, wide).logpdf(values) - stats.multivariate_normal(
            np.zeros(4), wide
        ).logpdf(values)
        assert ratio == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("fall", [-0.1, 0.0, 0.12])
def test_evidence_is_the_mixture_over_sizes_and_change_points(fall):
    found = Contrasts(np.array([fall, fall / 2]), np.array([300.0, 900.0]))
    weights, later = change_weights(2)
    prior = stats.halfnorm(scale=SCALE).pdf

    def ratio(size, place):
        return np.exp(found.information[place] * (found.fall[place] * size - size**2 / 2))

    parts = [integrate.quad(lambda s, p=p: ratio(s, p) * prior(s), 0, 2, points=[0.05, 0.2])[0] for p in (0, 1)]
    assert np.exp(log_evidence(found, SCALE)) == pytest.approx(weights @ parts + later, rel=1e-6)
    back = [
        integrate.quad(lambda r, p=p: ratio(MARGIN - r, p) / ratio(MARGIN, p) * prior(r), 0, 2, points=[0.05, 0.2])[0]
        for p in (0, 1)
    ]
    assert np.exp(log_recovery(found, MARGIN, SCALE)) == pytest.approx(weights @ back + later, rel=1e-6)
    normal = stats.norm(scale=SCALE).pdf
    both = [integrate.quad(lambda s, p=p: ratio(s, p) * normal(s), -2, 2, points=[-0.2, 0.2])[0] for p in (0, 1)]
    moments = [integrate.quad(lambda s, p=p: s * ratio(s, p) * normal(s), -2, 2, points=[-0.2, 0.2])[0] for p in (0, 1)]
    assert change_now(found, SCALE) == pytest.approx(-(weights @ moments) / (weights @ both + later), rel=1e-6)


def test_weights_sum_to_one_at_every_horizon():
    for looks in (1, 7, 1000):
        weights, later = change_weights(looks)
        assert weights.sum() + later == pytest.approx(1, abs=1e-12)
        assert (np.diff(weights) < 0).all()


def simulated(runs, looks, seed=0, spread=(0.03, 0.05)):
    generator = np.random.default_rng(seed)
    variances = np.square(generator.uniform(*spread, size=looks + 1))
    return 0.4 + np.sqrt(variances) * generator.normal(size=(runs, looks + 1)), np.broadcast_to(
        variances, (runs, looks + 1)
    )


def test_expectation_is_one_without_a_change():
    # A narrow prior keeps the tail of the e-values light enough for a mean to be measured.
    values, variances = simulated(400_000, 6)
    found = np.exp(log_evidence(contrasts(values, variances), 0.03))
    assert found.mean() == pytest.approx(1, abs=4 * found.std() / np.sqrt(len(found)))
    assert found.std() / np.sqrt(len(found)) < 0.003


def first_crossing(values, variances, statistic, level):
    looks = values.shape[1]
    crossed = np.zeros(len(values), bool)
    for look in range(2, looks + 1):
        crossed |= statistic(values[:, :look], variances[:, :look]) >= -np.log(level)
    return crossed.mean()


def test_false_alarms_stay_below_the_level_at_every_look_together():
    values, variances = simulated(4000, 60, seed=1)
    alarms = first_crossing(values, variances, lambda v, s: log_evidence(contrasts(v, s), SCALE), 0.1)
    assert 0.005 < alarms <= 0.1
    assert first_crossing(values, variances, lambda v, s: log_evidence(contrasts(v, s), SCALE), 0.01) <= 0.01


def test_a_lasting_fall_is_not_called_recovered_nor_excluded():
    values, variances = simulated(4000, 40, seed=2)
    values = values.copy()
    values[:, 1:] -= MARGIN
    recovered = first_crossing(
        values, variances, lambda v, s: log_recovery(against_reference(v, s), MARGIN, SCALE), 0.1
    )
    assert 0.005 < recovered <= 0.1
    missed = np.zeros(len(values), bool)
    for look in range(2, values.shape[1] + 1):
        missed |= excluded(contrasts(values[:, :look], variances[:, :look]), MARGIN, 0.2)
    assert 0.005 < missed.mean() <= 0.2


@pytest.mark.parametrize("change", [0.0, -0.1])
def test_confidence_sequence_covers_the_present_fall_at_every_look(change):
    values, variances = simulated(2000, 30, seed=3)
    values = values.copy()
    values[:, 10:] += change
    missed = np.zeros(len(values), bool)
    for look in range(2, values.shape[1] + 1):
        low, high = confidence_sequence(contrasts(values[:, :look], variances[:, :look]), SCALE, 0.9)
        fall = -change if look > 10 else 0.0
        missed |= (low > fall) | (high < fall)
    assert missed.mean() <= 0.1


@given(means, errors, st.floats(-3, 3))
def test_a_shift_of_everything_changes_nothing(values, spreads, shift):
    values, variances = arrays(values, spreads)
    assert log_evidence(contrasts(values + shift, variances), SCALE) == pytest.approx(
        log_evidence(contrasts(values, variances), SCALE), rel=1e-6, abs=1e-6
    )


@given(means, errors, st.floats(0.5, 2))
def test_units_change_nothing(values, spreads, factor):
    values, variances = arrays(values, spreads)
    scaled = log_evidence(contrasts(values * factor, variances * factor**2), SCALE * factor)
    assert scaled == pytest.approx(log_evidence(contrasts(values, variances), SCALE), rel=1e-6, abs=1e-6)


@given(means, errors, st.floats(0, 0.3))
def test_a_lower_last_check_never_lessens_the_evidence(values, spreads, less):
    values, variances = arrays(values, spreads)
    lower = values - less * (np.arange(len(values)) == len(values) - 1)
    before, after = (contrasts(v, variances) for v in (values, lower))
    assert log_evidence(after, SCALE) >= log_evidence(before, SCALE) - 1e-9


@given(means, errors)
def test_two_equal_checks_are_one_of_half_the_variance(values, spreads):
    """Where the change is before both: a change point between them is another hypothesis."""
    values, variances = arrays(values, spreads)
    twice = contrasts(np.append(values, values[-1]), np.append(variances, variances[-1]))
    variances = variances.copy()
    variances[-1] /= 2
    once = contrasts(values, variances)
    np.testing.assert_allclose(twice.fall[:-1], once.fall, atol=1e-9)
    np.testing.assert_allclose(twice.information[:-1], once.information, rtol=1e-9)


@given(means, errors, st.permutations(range(3)))
def test_the_order_of_what_lies_before_the_change_is_of_no_account(values, spreads, order):
    values, variances = arrays(values, spreads)
    place = [*order, *range(3, len(values))]
    one, other = contrasts(values, variances, 3), contrasts(values[place], variances[place], 3)
    np.testing.assert_allclose(one.fall, other.fall, atol=1e-9)


def test_reference_of_a_recovery_leaves_out_what_lies_between():
    values, variances = np.array([0.4, 0.1, 0.1, 0.38]), np.full(4, 0.04**2)
    found = against_reference(values, variances)
    assert found.fall[-1] == pytest.approx(0.02)
    assert found.information[-1] == pytest.approx(1 / (2 * 0.04**2))
