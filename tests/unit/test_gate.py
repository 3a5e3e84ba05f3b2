import numpy as np
import pytest

from influcoder.core.errors import IntegrityError
from influcoder.influence.teacher import Teacher
from influcoder.labelsets.labelset import LabelSet
from influcoder.labelsets.manifest import Identity, Manifest, SampleRef
from influcoder.labelsets.plan import Entry
from influcoder.samples import split_of
from influcoder.statistics.agreement import agreement
from monitoring.loop.gate import judge_challenger, prove_disjoint

MARGIN = 0.02
LABELS = np.random.default_rng(0).normal(size=(60, 40))


def ranking(noise, seed=1):
    """Agreement of scores that follow the labels up to noise."""
    return agreement(LABELS + noise * np.random.default_rng(seed).normal(size=LABELS.shape), LABELS, resamples=50)


NOTHING = agreement(np.full(LABELS.shape, np.nan), LABELS, resamples=50)
CONSTANT = agreement(np.ones(LABELS.shape), LABELS, resamples=50)
GOOD, FAIR, CHANCE = ranking(0.5), ranking(0.9), ranking(1e6)


def test_first_challenger_above_the_floor_passes():
    result = judge_challenger(GOOD, CHANCE, None, MARGIN, 2)
    assert result.passed
    assert result.over_champion is None
    assert len(result.reasons) == 1


def test_challenger_at_the_floor_fails():
    result = judge_challenger(ranking(1e6, seed=2), CHANCE, None, MARGIN, 2)
    assert not result.passed
    assert result.reasons[0].startswith("failed: over the floor")


def test_challenger_that_equals_the_champion_passes():
    result = judge_challenger(GOOD, CHANCE, GOOD, MARGIN, 2)
    assert result.passed
    assert result.over_champion == (0, 0, 0)


def test_better_challenger_passes():
    result = judge_challenger(GOOD, CHANCE, FAIR, MARGIN, 2)
    assert result.passed
    assert result.over_champion[1] > 0


def test_challenger_that_is_worse_by_more_than_the_margin_fails():
    result = judge_challenger(FAIR, CHANCE, GOOD, MARGIN, 2)
    assert not result.passed
    assert [reason.split(":")[0] for reason in result.reasons] == ["passed", "failed"]
    assert result.over_champion[0] < -MARGIN


def test_margin_decides_how_much_worse_is_accepted():
    loss = judge_challenger(FAIR, CHANCE, GOOD, MARGIN, 2).over_champion
    assert judge_challenger(FAIR, CHANCE, GOOD, -loss[1] + 0.001, 2).passed
    assert not judge_challenger(FAIR, CHANCE, GOOD, -loss[1] - 0.001, 2).passed


@pytest.mark.parametrize("empty", [NOTHING, CONSTANT], ids=["not finite", "constant"])
@pytest.mark.parametrize("role", ["challenger", "floor", "champion"])
def test_no_evidence_never_passes(empty, role):
    evidence = {"challenger": GOOD, "floor": CHANCE, "champion": FAIR, role: empty}
    result = judge_challenger(**evidence, margin=0.99, min_queries=2)
    assert not result.passed
    assert any(reason.startswith("failed") for reason in result.reasons)


def test_too_few_queries_are_no_evidence():
    assert judge_challenger(GOOD, CHANCE, FAIR, MARGIN, 60).passed
    result = judge_challenger(GOOD, CHANCE, FAIR, MARGIN, 61)
    assert not result.passed
    assert result.reasons[0] == "failed: 60 usable queries; needs 61"


def identity(kind, refs):
    teacher = Teacher(decoder_fingerprint="d")
    return Identity(kind=kind, teacher=teacher, samples=tuple(refs), sources=())


def spot(chosen):
    entries = tuple(Entry(sample, "query", "report") for sample in chosen)
    refs = [SampleRef(hash=e.sample.hash, role=e.role, split=e.split) for e in entries]
    return LabelSet(identity("spot", refs), entries, None, "", {})


def lessons(chosen, split):
    found = identity("training", [SampleRef(hash=s.hash, role="candidate", split=split) for s in chosen])
    rest = {"decoder_uri": "", "files": {}, "quarantined": {}, "code_commit": "", "libraries": {}, "created": ""}
    return Manifest(identity=found, cut_share=None, **rest)


@pytest.mark.parametrize("split", ["train", "selection"])
def test_spot_labels_must_be_of_samples_that_nobody_was_trained_or_chosen_on(samples, split):
    fresh = [sample for sample in samples if split_of(sample) == "report"]
    others = [sample for sample in samples if split_of(sample) == split]
    prove_disjoint(spot(fresh), [lessons(others, split), lessons(fresh, "report")])
    with pytest.raises(IntegrityError, match="is not of the report split"):
        prove_disjoint(spot([*fresh, others[0]]), [])
    with pytest.raises(IntegrityError, match="trained an encoder on 1 samples"):
        prove_disjoint(spot(fresh), [lessons(others, split), lessons(fresh[:1], split)])
