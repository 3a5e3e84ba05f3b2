from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influcoder.samples import SPLITS, Sample, split_of
from influcoder.samples.splits import in_split

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MANY = [Sample(str(number), f"question {number}", f"answer {number}") for number in range(5000)]


@given(context=TEXT, target=TEXT.filter(str.strip), ids=st.tuples(TEXT, TEXT), sources=st.tuples(TEXT, TEXT))
def test_split_is_a_function_of_content_alone(context, target, ids, sources):
    splits = {split_of(Sample(name, context, target, source=source)) for name, source in zip(ids, sources, strict=True)}
    assert len(splits) == 1
    assert splits <= set(SPLITS)


def test_splits_do_not_change_between_versions():
    # What was trained on under one version must not become evidence under the next.
    assert {int(sample.id) for sample in MANY[:12] if split_of(sample) == "selection"} == {5, 9}
    assert {int(sample.id) for sample in MANY[:12] if split_of(sample) == "report"} == {10}


@pytest.mark.parametrize(("split", "share"), [("train", 0.7), ("selection", 0.1), ("report", 0.2)])
def test_proportions(split, share):
    # Five standard deviations of a share of 5,000 draws are at most 0.033.
    assert Counter(map(split_of, MANY))[split] / len(MANY) == pytest.approx(share, abs=0.033)


def test_in_split_keeps_order_and_loses_nothing():
    parts = [in_split(MANY, split) for split in SPLITS]
    assert sum(map(len, parts)) == len(MANY)
    assert all([int(sample.id) for sample in part] == sorted(int(sample.id) for sample in part) for part in parts)
