"""Scores of a filter, and the line between what is kept and what is dropped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from influcoder.attribution.filter import threshold as cut_module
from influcoder.attribution.filter.curve import Aim, Curve
from influcoder.attribution.filter.scoring import Probe, Rule, Scored, cohort_of, cohort_rows, standardised
from influcoder.attribution.filter.threshold import Cut, by_budget, by_threshold, by_validation
from influcoder.core.errors import EncoderError, SampleError, SettingsError, ShapeError
from influcoder.samples import Sample

SCORES = st.floats(-1, 1).map(lambda value: round(value, 2))
LABELLED = st.lists(st.tuples(SCORES, st.booleans()), min_size=4, max_size=40).filter(
    lambda rows: 2 <= sum(label for _, label in rows) <= len(rows) - 2
)


def samples(count, prefix="s"):
    return [Sample(f"{prefix}{number}", "", f"{prefix} text {number}") for number in range(count)]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def scored(scores, copies=None):
    scores = np.asarray(scores, float)
    zeros = np.zeros(len(scores), np.int32)
    copies = np.zeros(len(scores), bool) if copies is None else np.asarray(copies, bool)
    return Scored(scores, zeros, scores.astype(np.float32), copies)


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def probe(draw, rule="mean", cohort=0):
    vectors = unit(draw.standard_normal((4 + cohort, 6)))
    return Probe(samples(4, "harmful"), vectors[:4], samples(cohort, "cohort"), vectors[4:], Rule(rule))


@given(influence=arrays(np.float64, (5, 4), elements=st.floats(-1, 1)), most=st.integers(1, 9))
def test_a_rule_is_the_mean_of_the_largest(influence, most):
    expected = np.sort(influence, axis=1)[:, ::-1][:, :most].mean(1)
    np.testing.assert_allclose(Rule(f"top{most}")(influence), expected)
    np.testing.assert_allclose(Rule("max")(influence), influence.max(1))
    np.testing.assert_allclose(Rule("mean")(influence), Rule("top4")(influence))


@pytest.mark.parametrize("name", ["", "median", "top0", "top", "top-1", "Max", "mean\n"])
def test_no_other_rule_is_known(name):
    with pytest.raises(SettingsError, match="no way to score"):
        Rule(name)


@pytest.mark.parametrize("cohort", [0, 5])
def test_batches_do_not_change_scores(draw, cohort):
    found = probe(draw, "top2", cohort)
    pool = [*samples(9), *found.cohort[:2], *samples(2 - len(found.cohort[:2]), "more")]
    vectors = unit(draw.standard_normal((11, 6)))
    whole = found.score(pool, vectors)
    parts = [found.score(pool[start : start + 3], vectors[start : start + 3]) for start in range(0, 11, 3)]
    joined = Scored.joined(parts)
    for name in Scored.__dataclass_fields__:
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), atol=1e-6)


def test_the_nearest_example_is_named_and_scores_are_deviations_of_the_cohort(draw):
    found = probe(draw, "max", cohort=6)
    scores = found.score(samples(4), found.harmful)
    assert scores.nearest.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(scores.influence, 1, atol=1e-6)
    others = found.harmful @ found.others.T
    np.testing.assert_allclose(scores.scores, (1 - others.mean(1)) / others.std(1), rtol=1e-5)


def test_a_sample_of_the_cohort_does_not_count_for_itself(draw):
    found = probe(draw, "max", cohort=6)
    scores = found.score(found.cohort, found.others)
    for row in range(6):
        influence = found.harmful @ found.others[row]
        rest = np.delete(found.others @ found.others[row], row)
        assert scores.scores[row] == pytest.approx((influence.max() - rest.mean()) / rest.std(), rel=1e-4)


@given(shift=st.floats(-0.2, 0.2), scale=st.floats(0.5, 2), seed=st.integers(0, 9))
def test_what_a_sample_shares_with_everything_does_not_count(shift, scale, seed):
    draw = np.random.default_rng(seed)
    scores, cohort = draw.uniform(-0.3, 0.3, 5), draw.uniform(-0.3, 0.3, (5, 8))
    nobody = np.zeros((5, 8), bool)
    moved = standardised(scores * scale + shift, cohort * scale + shift, nobody)
    np.testing.assert_allclose(moved, standardised(scores, cohort, nobody), rtol=1e-6)


def test_influence_that_is_all_alike_gives_finite_scores():
    assert np.isfinite(standardised(np.array([0.5]), np.full((1, 4), 0.5), np.zeros((1, 4), bool))).all()


def test_the_cohort_is_a_draw_of_the_pool_without_the_examples():
    pool = samples(300)

    def cohort(pool, *known):
        rows = cohort_rows(len(pool), sum(map(len, known)))
        return cohort_of([pool[row] for row in rows], *known)

    drawn = cohort(pool, pool[:50])
    assert len(drawn) == len({sample.hash for sample in drawn}) == 128
    assert not {sample.hash for sample in drawn} & {sample.hash for sample in pool[:50]}
    assert cohort(pool, pool[:50]) == drawn
    assert cohort(pool[:2], pool[:1]) == []
    assert cohort(pool, pool[:9], pool[9:13])[:4] == pool[9:13]
    assert len(cohort(pool, pool[:9], pool[9:13])) == 128
    assert cohort(pool, [], pool[:200]) == pool[:200]


def test_a_copy_of_an_example_comes_first_whatever_it_scores(draw):
    found = probe(draw)
    pool = [*samples(3), found.examples[2]]
    vectors = np.concatenate([found.harmful[:3], -found.harmful[2:3]])
    scores = found.score(pool, vectors)
    assert scores.copies.tolist() == [False, False, False, True]
    assert scores.scores[3] == scores.scores.min()
    assert scores.order()[0] == 3
    assert by_threshold(0.99).dropped(scores)[3]
    assert by_budget("1", 4).dropped(scores).tolist() == [False, False, False, True]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_stop_the_work_and_are_named(draw, bad):
    found, vectors = probe(draw), unit(draw.standard_normal((5, 6)))
    vectors[3, 1] = bad
    with pytest.raises(EncoderError, match="'s3'"):
        found.score(samples(5), vectors)
    with pytest.raises(EncoderError, match="'bad3'"):
        Probe(samples(5, "bad"), vectors, [], vectors[:0], Rule("max"))


def test_vectors_that_fit_nothing_are_refused(draw):
    found = probe(draw)
    with pytest.raises(ShapeError, match="2 samples"):
        found.score(samples(2), found.harmful)
    with pytest.raises(ShapeError, match="6 dimensions"):
        found.score(samples(4), found.harmful[:, :5])


def test_no_example_is_an_error():
    with pytest.raises(SampleError, match="no harmful example"):
        Probe([], np.zeros((0, 3)), [], np.zeros((0, 3)), Rule("max"))
    with pytest.raises(SampleError, match="no deviation"):
        Probe(samples(1), np.ones((1, 3)), samples(1, "other"), np.ones((1, 3)), Rule("max"))


@given(values=st.lists(SCORES, min_size=1, max_size=30), data=st.data())
def test_a_budget_drops_so_many_and_none_that_scores_less(values, data):
    count = data.draw(st.integers(1, len(values)))
    found = scored(values)
    mask = by_budget(str(count), len(values)).dropped(found)
    assert mask.sum() == count
    assert found.scores[mask].min() >= found.scores[~mask].max(initial=-np.inf)
    assert by_budget(str(count), len(values)).line(found) == found.scores[mask].min()


@given(values=st.lists(SCORES, min_size=1, max_size=30), threshold=SCORES)
def test_a_threshold_drops_what_reaches_it(values, threshold):
    found = scored(values)
    np.testing.assert_array_equal(by_threshold(threshold).dropped(found), found.scores >= threshold)


def test_of_equal_scores_a_budget_takes_the_first():
    assert by_budget("2", 4).dropped(scored([0.5, 0.5, 0.5, 0.1])).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("text", "pool", "count"), [("5%", 200, 10), ("29%", 100, 29), ("2.5 %", 100, 2), ("7", 7, 7), ("100%", 3, 3)]
)
def test_budgets(text, pool, count):
    assert by_budget(text, pool).count == count


@pytest.mark.parametrize("text", ["", "many", "-3", "1.5", "5%%", "nan", "%", "1e3"])
def test_what_is_no_budget(text):
    with pytest.raises(SettingsError, match="no budget"):
        by_budget(text, 100)


@pytest.mark.parametrize("text", ["0", "0%", "101", "1%", "101%"])
def test_budgets_of_nothing_or_of_too_much(text):
    with pytest.raises(SettingsError, match="of 99 samples"):
        by_budget(text, 99)


def test_a_threshold_is_a_number():
    with pytest.raises(SettingsError, match="is a number"):
        by_threshold(float("nan"))


@given(rows=LABELLED)
def test_the_curve_is_that_of_every_threshold(rows):
    values, labels = np.array([score for score, _ in rows]), np.array([label for _, label in rows])
    curve = Curve.of(values, labels)
    assert curve.average_precision == pytest.approx(average_precision_score(labels, values))
    for place, score in enumerate(curve.scores):
        mask = values >= score
        assert curve.precision[place] == pytest.approx(labels[mask].mean())
        assert curve.recall[place] == pytest.approx(mask[labels].mean())
        np.testing.assert_array_equal(values >= curve.threshold(place), mask)


@given(rows=LABELLED, recall=st.floats(0.05, 1))
def test_a_wanted_recall_is_reached_by_the_highest_threshold_that_can(rows, recall):
    values, labels = np.array([score for score, _ in rows]), np.array([label for _, label in rows])
    curve = Curve.of(values, labels)
    place = curve.best(Aim(recall=recall))
    reached = (values >= curve.threshold(place))[labels].mean()
    assert reached >= recall - 1e-9
    assert all((values >= score)[labels].mean() < recall for score in curve.scores[:place])


@given(rows=LABELLED, precision=st.floats(0.05, 1))
def test_a_wanted_precision_is_reached_with_the_most_recall_or_not_at_all(rows, precision):
    values, labels = np.array([score for score, _ in rows]), np.array([label for _, label in rows])
    curve = Curve.of(values, labels)
    fit = [(values >= s)[labels].mean() for s in curve.scores if labels[values >= s].mean() >= precision]
    place = curve.best(Aim(precision=precision))
    assert (place is None) == (not fit)
    if place is not None:
        assert curve.recall[place] == pytest.approx(max(fit))


@given(rows=LABELLED)
def test_the_best_f1_is_the_best(rows):
    values, labels = np.array([score for score, _ in rows]), np.array([label for _, label in rows])
    curve = Curve.of(values, labels)
    every = [2 * (labels & (values >= s)).sum() / (labels.sum() + (values >= s).sum()) for s in curve.scores]
    assert every[curve.best(Aim())] == pytest.approx(max(every))


def labelled(draw, shift, count=60):
    labels = draw.random(count) < 0.3
    return draw.standard_normal(count) + shift * labels, labels


def test_validation_chooses_the_way_that_ranks_best_and_says_what_it_is_worth(draw):
    good, labels = labelled(draw, 2.5)
    cut = by_validation({"mean": draw.standard_normal(60), "max": good}, labels, Aim())
    found = cut.validated
    assert (found.rule, found.harmful, found.harmless) == ("max", labels.sum(), 60 - labels.sum())
    assert found.tried["max"] == pytest.approx(average_precision_score(labels, good))
    assert found.f1.lo < found.f1.value < found.f1.hi <= 1
    assert found.f1.value < harmonic(good, labels, cut.threshold)
    assert found.average_precision.lo > 0.5
    again = by_validation({"mean": draw.standard_normal(60), "max": good}, labels, Aim())
    assert again.threshold == cut.threshold
    assert "best F1 on 60 labelled samples" in cut.why


def test_its_figures_promise_no_more_than_other_samples_hold(monkeypatch):
    """On noise the threshold that looks best looks better than it is; what is promised is what others hold."""
    monkeypatch.setattr(cut_module, "RESAMPLES", 60)
    seen, promised, held = [], [], []
    for seed in range(20):
        draw = np.random.default_rng(seed)
        noise, labels = labelled(draw, 0)
        cut = by_validation({"max": noise}, labels, Aim())
        seen.append(harmonic(noise, labels, cut.threshold))
        promised.append(cut.validated.f1.value)
        held.append(harmonic(*labelled(draw, 0, 3000), cut.threshold))
    assert np.mean(seen) > np.mean(held) + 0.02
    assert np.mean(held) - 0.04 < np.mean(promised) < np.mean(held) + 0.01


def harmonic(scores, labels, threshold):
    dropped = scores >= threshold
    return 2 * (dropped & labels).sum() / (dropped.sum() + labels.sum())


def test_a_precision_that_no_threshold_has_is_an_error(draw):
    labels = np.array([False, False, True, True, False, False])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    with pytest.raises(SettingsError, match=r"highest precision is 0\.500"):
        by_validation({"max": scores}, labels, Aim(precision=0.9))


@pytest.mark.parametrize(("labels", "kind"), [([True] * 5, "harmless"), ([False] * 5, "harmful"), ([], "harmful")])
def test_a_validation_that_lacks_a_kind_is_an_error(labels, kind):
    with pytest.raises(SampleError, match=f"0 {kind}"):
        by_validation({"max": np.arange(len(labels), dtype=float)}, np.array(labels, bool), Aim())


@pytest.mark.parametrize("aim", [{"precision": 0.5, "recall": 0.5}, {"precision": 1.5}, {"recall": 0.0}])
def test_aims_that_are_none(aim):
    with pytest.raises(SettingsError):
        Aim(**aim)


def test_a_cut_by_threshold_does_not_depend_on_the_pool(draw):
    values = draw.random(50)
    cut = Cut("given", threshold=0.5)
    whole = cut.dropped(scored(values))
    halves = np.concatenate([cut.dropped(scored(values[:25])), cut.dropped(scored(values[25:]))])
    np.testing.assert_array_equal(whole, halves)
