import dataclasses
from collections import Counter

import pytest

from influcoder.core.errors import SampleError
from influcoder.labelsets import plan_label_set, plan_spot
from influcoder.labelsets.plan import Entry, other_reference
from influcoder.samples import SPLITS, Corpus, Sample, split_of
from influcoder.settings.labels import LabelBudget, SplitBudget

BUDGET = LabelBudget(
    train=SplitBudget(queries=30, candidates=60),
    selection=SplitBudget(queries=5, candidates=10),
    report=SplitBudget(queries=8, candidates=16),
)


def corpus(size, what="answer"):
    return Corpus(
        what, tuple(Sample(f"{what} {number}", f"question {number}", f"{what} {number}") for number in range(size))
    )


POOL = corpus(600)


def view(sample):
    return " ".join(sample.text.lower().split())


def counts(plan):
    return Counter((entry.split, entry.role) for entry in plan.entries)


def test_budget_is_met_in_every_split_and_role():
    plan = plan_label_set(POOL, None, BUDGET, seed=0)
    budgets = {split: getattr(BUDGET, split) for split in SPLITS}
    assert counts(plan) == {
        (split, role): number
        for split, budget in budgets.items()
        for role, number in (("query", budget.queries), ("candidate", budget.candidates))
    }
    assert (plan.kind, plan.sources) == ("training", (("answer", POOL.digest),))


def test_samples_are_disjoint_and_stay_in_their_splits():
    plan = plan_label_set(POOL, None, BUDGET, seed=0)
    assert len({sample.hash for sample in plan.samples}) == len(plan.entries)
    assert all(split_of(entry.sample) == entry.split for entry in plan.entries)


def test_queries_come_from_their_own_corpus():
    queries = corpus(300, "output")
    plan = plan_label_set(POOL, queries, BUDGET, seed=0, parent="before")
    assert {(entry.role, entry.sample.id.split()[0]) for entry in plan.entries} == {
        ("query", "output"),
        ("candidate", "answer"),
    }
    assert plan.sources == (("answer", POOL.digest), ("output", queries.digest))
    assert plan.parent == "before"


def test_texts_that_look_alike_to_an_encoder_are_drawn_once():
    twins = [dataclasses.replace(s, id=f"{s.id} again", text=s.text.upper().replace(" ", "\n ")) for s in POOL.samples]
    plan = plan_label_set(Corpus("twins", (*POOL.samples, *twins)), None, BUDGET, seed=0)
    assert len({view(sample) for sample in plan.samples}) == len(plan.entries)


def test_one_corpus_in_both_roles_gives_no_sample_twice():
    plan = plan_label_set(POOL, POOL, BUDGET, seed=0)
    assert len({sample.hash for sample in plan.samples}) == len(plan.entries)


def test_plan_depends_on_the_seed_alone():
    shuffled = Corpus(POOL.uri, POOL.samples[::-1])
    assert plan_label_set(POOL, None, BUDGET, seed=0) == plan_label_set(shuffled, None, BUDGET, seed=0)
    assert plan_label_set(POOL, None, BUDGET, seed=0).entries != plan_label_set(POOL, None, BUDGET, seed=1).entries


def test_most_samples_stay_when_the_corpus_grows():
    before, after = (plan_label_set(corpus(size), None, BUDGET, seed=0) for size in (600, 660))
    stayed = {sample.hash for sample in before.samples} & {sample.hash for sample in after.samples}
    # A tenth more samples should displace about a tenth of the drawn ones.
    assert 0.8 * len(before.samples) < len(stayed) < len(before.samples)


def test_nothing_changes_when_the_corpus_grows_in_another_split():
    more = [s for s in corpus(900).samples[600:] if split_of(s) == "train"]
    before, after = (plan_label_set(c, None, BUDGET, seed=0) for c in (POOL, Corpus(POOL.uri, (*POOL.samples, *more))))
    outside = [[entry for entry in plan.entries if entry.split != "train"] for plan in (before, after)]
    assert outside[0] == outside[1]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("role", ["query", "candidate"])
def test_too_small_corpus_says_what_is_missing(split, role):
    enough = {"queries": 2, "candidates": 5}
    budget = LabelBudget(**{name: SplitBudget(**enough) for name in SPLITS})
    wish = SplitBudget(**enough | {"queries" if role == "query" else "candidates": 999})
    with pytest.raises(SampleError, match=f"for 999 of role {role} in the {split} split.*labels.budget"):
        plan_label_set(POOL, None, budget.model_copy(update={split: wish}), seed=0)


def test_empty_corpus_is_too_small():
    with pytest.raises(SampleError, match="has 0 samples left"):
        plan_label_set(corpus(0), None, BUDGET, seed=0)


def test_spot_samples_come_from_the_report_split():
    plan = plan_spot(POOL, None, SplitBudget(queries=8, candidates=16), seed=3)
    assert counts(plan) == {("report", "query"): 8, ("report", "candidate"): 16}
    assert {split_of(sample) for sample in plan.samples} == {"report"}
    assert plan.kind == "spot"


def test_spot_labels_begin_the_report_split():
    spot = plan_spot(POOL, None, SplitBudget(queries=4, candidates=7), seed=3)
    plan = plan_label_set(POOL, None, BUDGET, seed=0, report=spot.entries)
    report = tuple(entry for entry in plan.entries if entry.split == "report")
    assert report[:11] == spot.entries
    assert counts(plan) == counts(plan_label_set(POOL, None, BUDGET, seed=0))
    assert len({view(entry.sample) for entry in report}) == 24


def test_spot_labels_beyond_the_budget_are_the_report_split():
    spot = plan_spot(POOL, None, SplitBudget(queries=12, candidates=20), seed=3)
    plan = plan_label_set(POOL, None, BUDGET, seed=0, report=spot.entries)
    assert tuple(entry for entry in plan.entries if entry.split == "report") == spot.entries
    assert counts(plan)["train", "candidate"] == BUDGET.train.candidates


def test_texts_of_spot_labels_are_not_drawn_for_training():
    drawn = [entry.sample for entry in plan_label_set(POOL, None, BUDGET, seed=0).entries if entry.split == "train"]
    twins = [dataclasses.replace(sample, id=f"twin {sample.id}", text=f"{sample.text.upper()}  ") for sample in drawn]
    spot = [Entry(twin, "candidate", "report") for twin in twins]
    plan = plan_label_set(POOL, None, BUDGET, seed=0, report=spot)
    assert not {sample.hash for sample in drawn} & {sample.hash for sample in plan.samples}


def test_another_reference_is_as_many_other_samples_of_the_train_split():
    train = [sample for sample in POOL.samples if split_of(sample) == "train"]
    first = train[:40]
    other = other_reference(POOL, first, seed=0)
    assert len({view(sample) for sample in other}) == 40
    assert not {view(sample) for sample in other} & {view(sample) for sample in first}
    assert {split_of(sample) for sample in other} == {"train"}
    assert other == other_reference(Corpus(POOL.uri, POOL.samples[::-1]), first, seed=0)


def test_another_reference_of_a_small_corpus_shares_no_more_than_it_must():
    train = [sample for sample in POOL.samples if split_of(sample) == "train"]
    first = train[:-15]
    other = other_reference(POOL, first, seed=0)
    assert len({sample.hash for sample in other}) == len(first)
    assert len({s.hash for s in other} & {s.hash for s in first}) == len(first) - 15
    assert {s.hash for s in train[-15:]} < {s.hash for s in other}
