"""The sampler: how often each row comes, what a refresh changes, and that a restart draws the same."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from influcoder.attribution.steering import InfluenceSampler, Weighting, weights_of
from influcoder.core.errors import ShapeError

ROWS = 40


def epoch_of(sampler, number):
    sampler.set_epoch(number)
    return list(sampler)


def random_weights(seed, rows=ROWS):
    return weights_of(np.random.default_rng(seed).normal(size=rows), Weighting())


def test_even_weights_are_a_shuffle():
    sampler = InfluenceSampler(ROWS, seed=0)
    first, second = epoch_of(sampler, 0), epoch_of(sampler, 1)
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first != second != list(range(ROWS))
    assert epoch_of(InfluenceSampler(ROWS, seed=0), 1) == second
    assert epoch_of(InfluenceSampler(ROWS, seed=1), 1) != second


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_a_row_comes_its_share_of_the_draws_rounded_up_or_down(seed, rows):
    weights = random_weights(seed, rows)
    drawn = np.bincount(epoch_of(InfluenceSampler(rows, seed, weights), 0), minlength=rows)
    assert drawn.sum() == rows
    assert (np.abs(drawn - weights * rows) < 1 + 1e-4).all()


def test_every_draw_has_the_weights_as_its_probabilities():
    weights = random_weights(0)
    epochs = np.array([epoch_of(InfluenceSampler(ROWS, seed, weights), 0) for seed in range(3000)])
    for place in (0, 17, ROWS - 1):
        drawn = np.bincount(epochs[:, place], minlength=ROWS)
        assert stats.chisquare(drawn, weights * len(epochs)).pvalue > 1e-3
    # The row that is favoured least still comes, as often as its floor and its rank say.
    least = (epochs == weights.argmin()).sum()
    expected = weights.min() * epochs.size
    assert abs(least - expected) < 4 * np.sqrt(expected)


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_what_is_dropped_is_never_drawn(seed, share):
    values = np.random.default_rng(seed).normal(size=ROWS)
    weights = weights_of(values, Weighting("drop", share=share))
    drawn = np.bincount(epoch_of(InfluenceSampler(ROWS, seed, weights), 0), minlength=ROWS)
    assert (drawn[weights == 0] == 0).all()
    assert np.ptp(drawn[weights > 0]) <= 1


def test_a_refresh_holds_from_the_next_draw_on():
    sampler = InfluenceSampler(ROWS, seed=3)
    before = epoch_of(sampler, 0)
    draws = iter(sampler)
    start = [next(draws) for _ in range(15)]
    only = np.zeros(ROWS)
    only[[4, 7]] = 0.5
    assert sampler.refresh(only)
    rest = list(draws)
    assert start == before[:15]
    assert len(rest) == ROWS - 15
    assert set(rest) == {4, 7}
    assert abs(rest.count(4) - rest.count(7)) <= 1
    assert set(epoch_of(sampler, 1)) == {4, 7}
    assert sampler.refresh(None)
    assert sorted(epoch_of(sampler, 2)) == list(range(ROWS))


def test_the_same_weights_again_change_nothing():
    weights = random_weights(1)
    sampler = InfluenceSampler(ROWS, seed=3, weights=weights)
    expected = epoch_of(sampler, 0)
    draws = iter(sampler)
    start = [next(draws) for _ in range(10)]
    assert not sampler.refresh(weights.copy())
    assert start + list(draws) == expected
    assert len(sampler.segments) == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, ROWS)), max_size=6), st.integers(0, ROWS - 1))
def test_a_restart_draws_the_same_after_what_was_used(places, used):
    """Weights change anywhere in three epochs; of the last one, `used` draws were trained on, and more were drawn."""
    sampler = InfluenceSampler(ROWS, seed=5)
    drawn = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        draws = iter(sampler)
        drawn = []
        for place in range(ROWS + 1):
            for number, when in enumerate(places):
                if when == (epoch, place):
                    sampler.refresh(random_weights(number), min(place, used) if epoch == 2 else place)
            if place < ROWS:
                drawn.append(next(draws))
    kept = sampler.segments
    after = epoch_of(sampler, 3)
    again = InfluenceSampler(ROWS, seed=5)
    again.restore(kept)
    assert epoch_of(again, 2)[used:] == drawn[used:]
    assert epoch_of(again, 3) == after


def test_what_held_for_draws_that_were_used_is_forgotten():
    sampler = InfluenceSampler(ROWS, seed=0)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        for draw, _ in enumerate(sampler):
            if draw % 5 == 4:
                sampler.refresh(random_weights(epoch * ROWS + draw), used=draw - 2)
    assert len(sampler.segments) <= 3


def test_no_random_state_is_touched():
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    sampler = InfluenceSampler(ROWS, seed=0, weights=random_weights(0))
    epoch_of(sampler, 0)
    sampler.refresh(None)
    epoch_of(sampler, 1)
    assert random.getstate() == states[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[1], strict=True))
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    "bad",
    [
        np.full(ROWS, np.nan),
        np.zeros(ROWS),
        np.full(ROWS - 1, 1.0),
        np.array([-1.0] + [1.0] * (ROWS - 1)),
        np.array([np.inf] + [1.0] * (ROWS - 1)),
    ],
)
def test_weights_that_are_no_probabilities_leave_those_that_held(bad):
    weights = random_weights(0)
    sampler = InfluenceSampler(ROWS, seed=0, weights=weights)
    expected = epoch_of(sampler, 0)
    with pytest.raises(ShapeError):
        sampler.refresh(bad)
    assert epoch_of(sampler, 0) == expected
    np.testing.assert_allclose(sampler.weights, weights, rtol=1e-6)


def test_no_rows_are_refused():
    with pytest.raises(ShapeError, match="no row"):
        InfluenceSampler([], seed=0)
