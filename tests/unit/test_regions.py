"""Regions: shares against sums over the whole matrix, invariances, divisions, near-duplicates, files."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_tags import Tags

from influcoder.attribution.regions import Scope, survey, write_survey
from influcoder.attribution.regions.atlas import atlas
from influcoder.attribution.regions.duplicates import groups_of_duplicates
from influcoder.attribution.regions.grouping import OTHERS, UNNAMED, by_cluster, by_source
from influcoder.attribution.regions.shares import mean_vector, shares, totals
from influcoder.core.errors import SampleError, ShapeError
from influcoder.samples import Sample

TOPICS = {"sea": "anchor harbour sail tide", "kitchen": "oven flour butter whisk", "orbit": "rocket moon comet probe"}


class Pool:
    """A pool in memory whose vectors come in an order that is not that of its rows."""

    def __init__(self, vectors, samples, batch=7):
        self._vectors, self._samples, self._batch = vectors, samples, batch
        self._order = np.random.default_rng(3).permutation(len(samples))

    def __len__(self):
        return len(self._samples)

    def vectors(self):
        for start in range(0, len(self), self._batch):
            rows = self._order[start : start + self._batch]
            yield rows, self._vectors[rows].astype(np.float16)

    def samples(self, rows):
        return {row: self._samples[row] for row in rows}

    def sources(self):
        return [sample.source for sample in self._samples]


def topical_pool(each=30, named=True):
    """Samples of three topics whose vectors point in three directions."""
    generator = np.random.default_rng(0)
    samples, vectors = [], []
    for number, (topic, words) in enumerate(TOPICS.items()):
        for place in range(each):
            target = " ".join(generator.permutation((words + f" {topic}").split())) + f" {number}{place}"
            samples.append(Sample(f"{topic}-{place}", "", target, source=topic if named else ""))
            vectors.append(np.eye(6)[number] + 0.1 * generator.standard_normal(6))
    return Pool(np.array(vectors) / 2, samples)


def test_shares_are_those_of_the_whole_matrix():
    pool, queries = topical_pool(), np.random.default_rng(1).standard_normal((9, 6)) / 4
    # One query is driven by nothing, so it has nothing to share.
    queries[2] = 0
    groups = ["a"] * 5 + ["b"] * 4
    regions = by_source(pool.sources(), 10)
    centre = mean_vector(pool.vectors())
    found = shares(totals(queries, pool.vectors(), regions.of_row, 3, centre), regions.names, groups)
    scores = queries @ pool._vectors.astype(np.float16).astype(float).T
    scores -= scores.mean(1, keepdims=True)
    for share in found:
        rows = [row for row in range(9) if share.queries in ("all", groups[row])]
        inside = regions.of_row == regions.names.index(share.region)
        for part, sign in (("positive", 1), ("negative", -1)):
            values = np.maximum(sign * scores[rows], 0)
            values = values[values.sum(1) > 0]
            expected = (values[:, inside].sum(1) / values.sum(1)).mean()
            assert getattr(share, part).value == pytest.approx(expected, rel=1e-4)
            assert getattr(share, part).lo <= expected <= getattr(share, part).hi
        assert share.lift.value == pytest.approx(share.positive.value / share.part)
    assert len(found) == 9


@given(seed=st.integers(0, 10**6), batch=st.integers(1, 90))
def test_shares_add_up_and_do_not_depend_on_batches(seed, batch):
    generator = np.random.default_rng(seed)
    vectors, queries = generator.standard_normal((90, 4)), generator.standard_normal((3, 4))
    of_row = generator.integers(0, 4, 90)
    pools = [Pool(vectors, [None] * 90, size) for size in (batch, 90)]
    one, other = (totals(queries, pool.vectors(), of_row, 4, mean_vector(pool.vectors())) for pool in pools)
    np.testing.assert_allclose(one.positive, other.positive, rtol=1e-4, atol=1e-5)
    found = shares(one, list("abcd"), ["q"] * 3)
    assert sum(share.positive.value for share in found) == pytest.approx(1)
    assert sum(share.part for share in found) == pytest.approx(1)
    assert sum(share.samples for share in found) == 90


def test_the_interval_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(5)
    held, rounds = 0, 80
    # Queries and samples of one endless population: two regions whose samples differ in scale alone, by 2 to 1.
    for seed in range(rounds):
        queries = generator.standard_normal((30, 4))
        of_row = np.arange(600) % 2
        vectors = generator.standard_normal((600, 4)) * np.where(of_row, 0.2, 0.1)[:, None] / 4
        pool = [(np.arange(600), vectors)]
        share = shares(totals(queries, pool, of_row, 2, mean_vector(pool)), "ab", ["q"] * 30, seed)
        found = next(item for item in share if item.region == "b").positive
        held += found.lo <= 2 / 3 <= found.hi
    assert held / rounds > 0.85


def test_a_region_that_drives_more_than_its_number_stands_over():
    pool = topical_pool()
    queries = np.eye(6)[[0, 0, 0]] + 0.05 * np.random.default_rng(2).standard_normal((3, 6))
    found = survey(pool, queries, ["q"] * 3, Scope(map=False))
    assert found.overall[0].region == "sea"
    assert found.overall[0].standing == "over"
    assert {share.standing for share in found.overall[1:]} == {"under"}


def test_estimates_that_are_all_of_one_sign_still_tell_regions_apart():
    """Every estimate was positive: no share of negative influence, a crash, and a map in one colour."""
    pool = topical_pool()
    shifted = Pool(np.concatenate([pool._vectors, np.ones((90, 1))], axis=1), pool._samples)
    queries = np.concatenate([np.eye(6)[[0, 0, 0]], np.ones((3, 1))], axis=1)
    plain = survey(pool, queries[:, :6], ["q"] * 3, Scope(map=False))
    found = survey(shifted, queries, ["q"] * 3, Scope())
    for mine, other in zip(found.overall, plain.overall, strict=True):
        assert (mine.region, mine.standing) == (other.region, other.standing)
        assert mine.negative.value == pytest.approx(other.negative.value, abs=1e-3)
    sea = found.points.regions == found.regions.names.index("sea")
    assert found.points.influence[0][sea].min() > 0 > found.points.influence[0][~sea].max()


def test_sources_beyond_the_wanted_number_are_put_together_and_one_source_is_refused():
    regions = by_source(["a"] * 5 + ["b"] * 3 + ["c", "", "d"], 3)
    assert regions.names == ("a", "b", OTHERS)
    assert np.bincount(regions.of_row).tolist() == [5, 3, 3]
    assert by_source(["a", ""], 5).names == (UNNAMED, "a")
    with pytest.raises(SampleError, match="--by cluster"):
        by_source(["a", "a"], 5)


def test_clusters_find_the_topics_and_are_called_after_their_words():
    pool = topical_pool(named=False)
    regions = by_cluster(pool.vectors, len(pool), 3, pool.samples)
    groups = [set(regions.of_row[start : start + 30]) for start in (0, 30, 60)]
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3
    for topic, group in zip(TOPICS, groups, strict=True):
        words = regions.names[group.pop()].partition(": ")[2].split(", ")
        assert set(words) <= set(TOPICS[topic].split()) | {topic}
    assert survey(pool, np.eye(6)[:1], ["q"], Scope(map=False, regions=3)).regions.by == "cluster"
    with pytest.raises(SampleError, match="fewer"):
        by_cluster(pool.vectors, 2, 3, pool.samples)


def test_near_duplicates_are_found_and_others_are_not():
    base = [f"the {word} of the harbour master was kept in a drawer beside {word} number {word}" for word in "pqrstu"]
    long = " ".join(f"word{n}" for n in range(60))
    texts = [*base, long, long.replace("word59", "end"), "short", "short", long[::-1]]
    assert groups_of_duplicates(texts) == [[6, 7], [8, 9]]
    assert groups_of_duplicates([]) == []


def test_files_hold_what_was_found(tmp_path):
    pool = topical_pool()
    found = survey(pool, np.eye(6)[:2], ["a", "b"], Scope(map=False))
    names = {path.name for path in write_survey(found, tmp_path, {"encoder": "3"}, "encoder 3")}
    assert names == {"regions.json", "shares.png", "lifts.png"}
    record = json.loads((tmp_path / "regions.json").read_text())
    assert record["encoder"] == "3"
    assert [row["region"] for row in record["shares"][:3]] == [share.region for share in found.overall]
    # One query has no interval, which is null and not NaN.
    assert record["shares"][3]["positive"]["lo"] is None


def test_nothing_to_share_is_an_error():
    with pytest.raises(ShapeError, match="at least one query"):
        totals(np.zeros((0, 4)), [], np.zeros(3, int), 1, np.zeros(4))


def test_the_map_keeps_samples_of_like_influence_together_and_needs_no_network(tmp_path):
    pool = topical_pool()
    found = survey(pool, np.eye(6)[:2], ["a", "<b>"], Scope())
    places = found.points.places
    assert places.shape == (90, 2)
    centres = np.array([places[start : start + 30].mean(0) for start in (0, 30, 60)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(1)
    assert (nearest == np.repeat([0, 1, 2], 30)).mean() > 0.95
    figure = atlas(found.points, found.regions, "", "")
    named = {note.text: (note.x, note.y) for note in figure.layout.annotations}
    assert set(TOPICS) <= set(named)
    for place, topic in enumerate(TOPICS):
        assert np.linalg.norm(centres - named[topic], axis=1).argmin() == place
    assert len(figure.data) == 1 + len(found.regions.names)
    for button, values in zip(figure.layout.updatemenus[0].buttons, found.points.influence, strict=False):
        np.testing.assert_allclose(button.args[0]["marker.color"][0], values, atol=1e-4)
    page = write_survey(found, tmp_path, {}, "encoder 3")[-1].read_text()
    assert "<b>sea</b>" in page.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u002f", "/")
    tags = Tags()
    tags.feed(page)
    assert "script" in {tag for tag, _ in tags.found}
    assert not [attributes for _, attributes in tags.found if {"src", "href"} & attributes.keys()]
