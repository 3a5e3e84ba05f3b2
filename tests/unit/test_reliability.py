"""What labels are worth: against a second opinion, and what is said of it."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from influcoder.core.errors import ScoreTableError
from influcoder.encoder.card import tags_of
from influcoder.influence.reliability import reliability_of
from influcoder.influence.reliability_record import Numerics, Reliability
from influcoder.influence.teacher import Teacher
from influcoder.labelsets.imported import import_scores, read_scores
from influcoder.labelsets.manifest import Identity, Manifest
from influcoder.samples import split_of
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import agreement

DECODER = {"fingerprint": "f" * 64, "uri": "tiny"}
# As a manifest of the version before said it.
BEFORE = (
    '{"queries": 24, "candidates": 48, "ceiling": 0.9, "ceiling_lo": 0.8, "ceiling_hi": 0.95, '
    '"ceiling_aggregated": 0.97, "fidelity": 0.99, "largest_error": 0.01}'
)


def opinions(queries, candidates, noise, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(queries, candidates))
    return [truth + noise * generator.normal(size=truth.shape) for _ in range(2)]


def rho_by_scipy(own, other):
    both = np.isfinite(own) & np.isfinite(other)
    rows = [spearmanr(a[there], b[there]).statistic for a, b, there in zip(own, other, both, strict=True)]
    return np.nanmean(rows)


def test_a_ceiling_is_the_mean_rho_of_two_opinions():
    own, other = opinions(12, 30, 0.4)
    found = reliability_of(own, other)
    assert found.ceiling == pytest.approx(rho_by_scipy(own, other), abs=1e-9)
    assert found.ceiling_aggregated == pytest.approx(spearmanr(own.mean(0), other.mean(0)).statistic, abs=1e-9)
    assert found.ceiling_lo < found.ceiling < found.ceiling_hi
    assert (found.queries, found.candidates, found.against) == (12, 30, "seeds")
    assert found.fidelity is found.largest_error is found.numerics is None


def test_a_ceiling_rests_on_the_pairs_that_are_in_both():
    own, other = opinions(10, 20, 0.4)
    own[0, :15], other[1, 3:9], other[2, :18] = np.nan, np.nan, np.nan
    found = reliability_of(own, other)
    # The third query has two pairs left, too few to be ranked.
    assert found.queries == 9
    assert found.ceiling == pytest.approx(rho_by_scipy(np.delete(own, 2, 0), np.delete(other, 2, 0)), abs=1e-9)
    swapped = reliability_of(other, own)
    assert swapped.ceiling == pytest.approx(found.ceiling, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 30), (8, 4), (0, 0)])
def test_too_little_gives_no_ceiling(shape):
    assert reliability_of(*opinions(*shape, 0.1)) is None


def test_what_can_not_be_ranked_gives_no_ceiling():
    own, other = opinions(6, 10, 0.1)
    assert reliability_of(np.ones_like(own), other) is None
    assert reliability_of(own, np.full_like(other, np.nan)) is None
    other[1:, 2:] = np.nan
    assert reliability_of(own, other) is None, "one query alone"


def test_constant_means_leave_the_rest_readable():
    rows = np.arange(8.0)
    own = np.stack([rows, -rows])
    found = reliability_of(own, own)
    assert found.ceiling == pytest.approx(1)
    assert found.ceiling_aggregated is None
    assert Reliability.model_validate_json(found.model_dump_json()) == found


def test_what_was_said_before_can_still_be_read():
    found = Reliability.model_validate_json(BEFORE)
    assert (found.against, found.reference, found.numerics) == ("seeds", 0, None)
    assert str(found) == (
        "Under other seeds the labels agree with themselves at ρ 0.900 [0.800, 0.950] (24 queries × 48 candidates): no "
        "encoder can honestly do better. The projection keeps the whole gradient's ranking at ρ 0.990, with errors of "
        "a cosine up to 0.010."
    )


def test_each_kind_of_second_opinion_is_said_in_its_own_words():
    own, other = opinions(6, 10, 0.1)
    fitted = str(reliability_of(own, other, against="reference", reference=30))
    assert fitted.startswith("With the curvature of another draw of 30 samples the labels agree with themselves at ρ ")
    assert "projection" not in fitted
    some = str(reliability_of(own, other, against="reference", reference=30, shared=4))
    assert "another draw of 30 samples (4 of them the same) the labels" in some
    ran = str(reliability_of(own, other, against="run"))
    assert ran.startswith("Another run of the method that computed these scores agrees with them at ρ ")
    assert "projection" not in ran
    figures = {"queries": 8, "candidates": 16, "batches": 0.99991, "batches_error": 2.5e-5, "dtype": "bfloat16"}
    short = Numerics(**figures)
    assert "in other batches they keep ρ 0.9999 (cosines move by 2.5e-05 at most); 8 queries" in str(short)
    both = reliability_of(own, other, numerics=Numerics(**figures, dtypes=0.987, dtypes_error=0.04))
    assert "with the decoder rounded to bfloat16 ρ 0.9870 (4.0e-02); 8 queries × 16 candidates." in str(both)
    assert Reliability.model_validate_json(both.model_dump_json()) == both


def manifest_of(method, reliability=None):
    teacher = Teacher(decoder_fingerprint="f" * 64, spec=TeacherSpec(method=method))
    return Manifest(
        identity=Identity(kind="training", teacher=teacher, samples=(), sources=()),
        decoder_uri="tiny",
        files={},
        quarantined={},
        cut_share=None,
        reliability=reliability,
        code_commit="",
        libraries={},
        created="",
    )


def test_an_unknown_ceiling_is_said_and_not_left_out():
    unknown = manifest_of("imported").worth
    assert "ceiling of these labels is unknown" in unknown
    assert "import-scores TABLE --second-opinion TABLE2" in unknown
    unmeasured = manifest_of("ekfac").worth
    assert "ceiling of these labels is unknown" in unmeasured
    assert "import-scores" not in unmeasured
    known = reliability_of(*opinions(6, 10, 0.1))
    assert manifest_of("imported", known).worth == str(known)


def scored(samples, noise, seed, path):
    """A table whose scores are half chance, with queries and candidates apart."""
    generator = np.random.default_rng(seed)
    rows = [
        {"query": q.id, "candidate": c.id, "score": len(c.text) % 13 - len(q.text) % 7 + noise * generator.normal()}
        for q in samples[::3]
        for i, c in enumerate(samples)
        if i % 3
    ]
    frame = pd.DataFrame(rows)
    frame.to_csv(path, index=False)
    return frame


def imported(corpus, table, other=None, kind="training"):
    second = read_scores(other) if other else None
    return import_scores(read_scores(table), corpus, None, DECODER, "ours", kind, second)


@pytest.mark.parametrize("kind", ["training", "spot"])
def test_another_run_gives_imported_scores_their_ceiling(tmp_path, corpus, samples, kind):
    one, two = (scored(samples, 3, seed, tmp_path / f"{seed}.csv") for seed in (1, 2))
    # Every seventh pair is not in the second table, and there is one that is not in the first.
    two[two.index % 7 > 0].to_csv(tmp_path / "2.csv", index=False)
    labels = imported(corpus, tmp_path / "1.csv", tmp_path / "2.csv", kind)
    split = {sample.id: split_of(sample) for sample in samples}
    both = one.merge(two[two.index % 7 > 0], on=["query", "candidate"])
    both = both[both["query"].map(split) == both["candidate"].map(split)]
    if kind == "spot":
        both = both[both["query"].map(split) == "report"]
    rows = [spearmanr(part["score_x"], part["score_y"]).statistic for _, part in both.groupby("query") if len(part) > 2]
    assert labels.reliability.ceiling == pytest.approx(np.mean(rows), abs=1e-6)
    assert labels.reliability.queries == len(rows)
    assert labels.reliability.against == "run"
    assert labels.reliability.candidates == both.groupby("query").size().max()
    assert 0 < labels.reliability.ceiling < 0.95


def test_a_second_opinion_labels_nothing_and_is_a_source(tmp_path, corpus, samples):
    for seed in (1, 2):
        scored(samples, 3, seed, tmp_path / f"{seed}.csv")
    alone, held = imported(corpus, tmp_path / "1.csv"), imported(corpus, tmp_path / "1.csv", tmp_path / "2.csv")
    assert alone.reliability is None
    assert held.pairs.equals(alone.pairs)
    assert held.evidence("report").labels.shape == alone.evidence("report").labels.shape
    assert held.id != alone.id, "a label set that is published without a ceiling can't get one later"
    assert [source.uri for source in held.identity.sources] == ["pool", "scores:1.csv", "scores:second-opinion:2.csv"]
    assert held.identity.teacher.id == alone.identity.teacher.id


def test_a_second_opinion_that_says_nothing_is_refused(tmp_path, corpus, samples):
    frame = scored(samples, 3, 1, tmp_path / "1.csv")
    (tmp_path / "copy.csv").write_bytes((tmp_path / "1.csv").read_bytes())
    with pytest.raises(ScoreTableError, match="are the same file"):
        imported(corpus, tmp_path / "1.csv", tmp_path / "copy.csv")
    frame[frame["query"] == frame["query"][0]].assign(score=1.5).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(ScoreTableError, match="too few pairs in common"):
        imported(corpus, tmp_path / "1.csv", tmp_path / "few.csv")
    frame.assign(candidate="nobody").to_csv(tmp_path / "strange.csv", index=False)
    with pytest.raises(ScoreTableError, match=r"strange.csv: .* neither id nor hash"):
        imported(corpus, tmp_path / "1.csv", tmp_path / "strange.csv")


def test_the_tag_of_a_ceiling_is_there_where_it_is_known():
    own, other = opinions(6, 10, 0.1)
    known = reliability_of(own, other, against="run")
    found = agreement(other, own)
    assert tags_of(manifest_of("imported", known), found, found)["labels.ceiling"] == f"{known.ceiling:.4f}"
    assert "labels.ceiling" not in tags_of(manifest_of("imported"), found, found)
