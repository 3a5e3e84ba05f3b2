"""What Great Expectations holds back. Its import costs seconds, so every test that needs it is here."""

from dataclasses import replace

import numpy as np
import pytest

from influcoder.core.errors import ValidationFailedError
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.labeller import Labelled
from influcoder.influence.teacher import Teacher
from influcoder.labelsets.labelset import assemble
from influcoder.labelsets.plan import plan_label_set
from influcoder.labelsets.validation import validate
from influcoder.samples import Corpus
from influcoder.settings.labels import LabelBudget, SplitBudget

BUDGET = LabelBudget(
    train=SplitBudget(queries=6, candidates=12),
    selection=SplitBudget(queries=2, candidates=5),
    report=SplitBudget(queries=4, candidates=8),
)


@pytest.fixture(scope="module")
def label_set(samples):
    plan = plan_label_set(Corpus("samples", tuple(samples)), None, BUDGET, seed=0)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(len(plan.entries), 16)).astype(np.float32)
    table = FeatureTable(
        tuple(sample.hash for sample in plan.samples),
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        np.exp(generator.normal(size=len(vectors))).astype(np.float32),
        np.abs(generator.normal(size=len(vectors))).astype(np.float32),
        np.zeros(len(vectors), np.float32),
    )
    return assemble(plan, Teacher(decoder_fingerprint="f" * 64), "tiny", Labelled(table, {}, len(vectors)))


def with_value(label_set, column, row, value):
    values = getattr(label_set.features, column).copy()
    values[row] = value
    return replace(label_set, features=replace(label_set.features, **{column: values}))


def without_last_sample(label_set):
    hashes = label_set.features.hashes[:-1]
    return replace(label_set, entries=label_set.entries[:-1], features=label_set.features.select(hashes))


def with_constant_row(label_set):
    candidates = [row for row, e in enumerate(label_set.entries) if (e.split, e.role) == ("report", "candidate")]
    return with_value(label_set, "vectors", candidates, label_set.features.vectors[candidates[0]])


def with_leak(label_set):
    """A text of the report split that stands in training too, in other letters."""
    *others, last = label_set.entries
    text = f"  {label_set.entries[0].sample.text.upper()}\n"
    return replace(label_set, entries=(*others, replace(last, sample=replace(last.sample, text=text))))


def test_valid_label_set_passes_with_its_data_docs(label_set):
    validation = validate(label_set)
    assert validation.success
    assert validation.checked > 20
    assert b"<html" in validation.docs["index.html"]
    for table in ("samples", "pairs", "rows"):
        assert validation.page(table) in validation.docs


@pytest.mark.parametrize(
    ("spoil", "failure"),
    [
        (lambda found: with_value(found, "vectors", 0, np.nan), "pairs: column_values_to_not_be_null score"),
        (with_constant_row, "rows: column_values_to_be_between spread"),
        (with_leak, "samples: column_values_to_be_unique view"),
        (lambda found: with_value(found, "norms", 0, 1e30), "samples: column_values_to_be_between norm_deviation"),
        (lambda found: with_value(found, "norms", [0, 1], [0, -1]), r"column_values_to_be_between norm\(2 rows"),
        (without_last_sample, "samples: table_row_count_to_equal.*pairs: table_row_count_to_equal"),
    ],
    ids=["nan score", "constant row", "leak", "outlier", "zero and negative norm", "missing row"],
)
def test_violation_is_refused_by_its_name(label_set, spoil, failure):
    with pytest.raises(ValidationFailedError, match=failure):
        validate(spoil(label_set))


def test_violations_are_only_reported_where_nothing_is_strict(label_set):
    spoilt = with_value(with_value(with_value(label_set, "losses", 0, -1), "losses", 1, np.nan), "cuts", 2, 1)
    validation = validate(spoilt, strict=False)
    assert [failure.split("(")[0].removeprefix("samples: column_values_to_") for failure in validation.failures] == [
        "not_be_null loss",
        "be_between loss",
        "be_between cut",
    ]
    assert "index.html" in validation.docs


def cut(label_set, share):
    """Every other sample lost twice that share of its tokens."""
    cuts = np.where(np.arange(len(label_set.entries)) % 2, 2 * share, 0).astype(np.float32)
    return replace(label_set, features=replace(label_set.features, cuts=cuts))


def test_texts_of_which_too_much_was_cut_are_refused_with_the_setting_to_change(label_set):
    with pytest.raises(
        ValidationFailedError, match=r"column_mean_to_be_between cut\(observed 0.3.*Raise teacher.max_tokens"
    ):
        validate(cut(label_set, 0.4), max_cut=0.3)


def test_texts_of_which_little_was_cut_pass(label_set):
    assert validate(cut(label_set, 0.25), max_cut=0.3).success
