"""Scores of pairs: looked up, imported from any table, and learnt from where some are missing."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from influcoder.core.errors import ScoreTableError
from influcoder.encoder.fine_tuning import steps
from influcoder.encoder.losses import distillation_loss
from influcoder.influence.teachers.pair_scores import PairScores
from influcoder.labelsets.imported import import_scores, read_scores
from influcoder.labelsets.labelset import Block
from influcoder.samples import split_of

NAMES = st.sampled_from("abcdef")
PAIRS = st.dictionaries(st.tuples(NAMES, NAMES), st.floats(-5, 5, width=32), min_size=1)
DECODER = {"fingerprint": "f" * 64, "uri": "tiny"}


@given(pairs=PAIRS, queries=st.lists(NAMES, unique=True), candidates=st.lists(NAMES, unique=True))
def test_a_block_holds_each_pairs_score_and_nothing_else(pairs, queries, candidates):
    table = PairScores.of([q for q, _ in pairs], [c for _, c in pairs], list(pairs.values()))
    found = table.block(queries, candidates)
    expected = [[pairs.get((q, c), np.nan) for c in candidates] for q in queries]
    np.testing.assert_array_equal(found, np.array(expected, np.float32).reshape(len(queries), len(candidates)))
    assert table.both_ways == bool({q for q, _ in pairs} & {c for _, c in pairs})


def test_a_pair_with_two_scores_is_refused():
    with pytest.raises(ScoreTableError, match="query b, candidate x: the pair has more than one score"):
        PairScores.of(["a", "b", "b"], ["x", "x", "x"], [1.0, 2.0, 2.0])


def all_pairs(samples, score=lambda q, c: float(len(q.text) % 7 - len(c.text) % 5)):
    queries, candidates = samples[::3], [s for i, s in enumerate(samples) if i % 3]
    return pd.DataFrame(
        [{"query": q.id, "candidate": c.hash, "score": score(q, c)} for q in queries for c in candidates]
    )


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".csv.gz", ".jsonl"])
def test_a_table_of_any_kind_becomes_the_same_labels(tmp_path, corpus, samples, ending):
    frame = all_pairs(samples).assign(note="left alone")
    path = tmp_path / f"scores{ending}"
    if ending == ".parquet":
        frame.to_parquet(path)
    elif ending == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False)
    labels = import_scores(read_scores(path), corpus, None, DECODER, "somebody", "training")
    by_id = {s.id: s for s in samples} | {s.hash: s for s in samples}
    kept = [
        (by_id[row.query], by_id[row.candidate], row.score)
        for row in frame.itertuples()
        if split_of(by_id[row.query]) == split_of(by_id[row.candidate])
    ]
    found = {(row.query, row.candidate): row.score for row in labels.pairs.itertuples()}
    assert found == {(q.hash, c.hash): pytest.approx(score) for q, c, score in kept}
    assert all(split_of(entry.sample) == entry.split for entry in labels.entries)
    assert labels.identity.teacher.spec.origin == "somebody"
    assert not labels.exchangeable
    assert labels.training_block().labels.shape == labels.block("train").labels.shape


def test_spot_scores_keep_the_report_split_alone(tmp_path, corpus, samples):
    path = tmp_path / "scores.csv"
    all_pairs(samples).to_csv(path, index=False)
    labels = import_scores(read_scores(path), corpus, None, DECODER, "", "spot")
    assert {entry.split for entry in labels.entries} == {"report"}
    assert labels.identity.kind == "spot"
    assert labels.identity.teacher.spec.origin == "scores.csv"


def test_scores_of_all_against_all_are_ranked_from_both_sides(tmp_path, corpus, samples):
    frame = pd.DataFrame(
        [
            {"query": a.id, "candidate": b.id, "score": float(i * 100 + j)}
            for i, a in enumerate(samples)
            for j, b in enumerate(samples)
            if i != j
        ]
    )
    frame.to_parquet(tmp_path / "scores.parquet")
    labels = import_scores(read_scores(tmp_path / "scores.parquet"), corpus, None, DECODER, "", "training")
    report = labels.evidence("report")
    assert report.is_square
    assert len(report.queries) == sum(split_of(sample) == "report" for sample in samples)
    place = {sample.hash: i for i, sample in enumerate(samples)}
    expected = np.array([[place[a.hash] * 100 + place[b.hash] for b in report.queries] for a in report.queries], float)
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_array_equal(report.labels, expected.astype(np.float32))


def test_other_scores_are_another_label_set(tmp_path, corpus, samples):
    ids = set()
    for name, sign in (("a.csv", 1), ("b.csv", -1)):
        all_pairs(samples, lambda q, c, sign=sign: sign * len(q.text) + len(c.text)).to_csv(
            tmp_path / name, index=False
        )
        ids.add(import_scores(read_scores(tmp_path / name), corpus, None, DECODER, "same", "training").id)
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "can't be read: No such file"),
        ("scores.txt", "query,candidate,score\n", "of no known kind"),
        ("scores.csv", "query,score\na,1\n", "has no column 'candidate'"),
        ("scores.csv", "query,candidate,score\na,b,1\na,c,\n", "row 2 has the score 'nan'; 1 of 2"),
        ("scores.csv", "query,candidate,score\na,b,much\n", "row 1 has the score 'much'"),
        ("scores.csv", "query,candidate,score\na,b,inf\n", "row 1 has the score 'inf'"),
        ("scores.parquet", "PAR1 no more", "can't be read"),
        ("scores.jsonl", "{", "can't be read"),
    ],
)
def test_a_bad_table_is_refused_by_what_is_wrong(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ScoreTableError, match=message):
        read_scores(tmp_path / name)


def test_scores_of_unknown_samples_are_refused_by_name(tmp_path, corpus, samples):
    frame = all_pairs(samples)
    frame.loc[3, "candidate"] = "nobody"
    frame.to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(ScoreTableError, match="1 of .* in column 'candidate' are neither id nor hash .* 'nobody'"):
        import_scores(read_scores(tmp_path / "scores.csv"), corpus, None, DECODER, "", "training")


def test_a_table_that_leaves_a_split_empty_is_refused(tmp_path, corpus, samples):
    train = [sample for sample in samples if split_of(sample) == "train"]
    all_pairs(train).to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(ScoreTableError, match="in the selection split"):
        import_scores(read_scores(tmp_path / "scores.csv"), corpus, None, DECODER, "", "training")


def test_a_pair_without_label_costs_nothing():
    draw = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(2, 5, 8, dtype=torch.float64, generator=draw)
    scores.requires_grad_(True)
    holes = labels.clone()
    holes[:3, [1, 6]] = torch.nan
    holes[3] = torch.nan
    holes[4, 1:] = torch.nan
    loss = distillation_loss(scores, holes, 0.3)
    loss.backward()
    there = [0, 2, 3, 4, 5, 7]
    expected = distillation_loss(scores[:3][:, there], labels[:3][:, there], 0.3)
    assert loss.item() == pytest.approx(expected.item())
    assert torch.isfinite(scores.grad).all()
    assert (scores.grad[:3, there] != 0).all()
    assert (scores.grad[holes.isnan()] == 0).all()
    assert (scores.grad[3:] == 0).all()


def test_a_batch_without_any_label_is_a_loss_of_nothing():
    scores = torch.rand(2, 4, requires_grad=True)
    loss = distillation_loss(scores, torch.full((2, 4), torch.nan), 0.05)
    loss.backward()
    assert loss.item() == 0
    assert (scores.grad == 0).all()


@given(queries=st.integers(2, 40), candidates=st.integers(5, 120), size=st.integers(4, 64))
def test_an_epoch_shows_every_query_and_every_candidate(queries, candidates, size):
    block = Block(list(range(queries)), list(range(candidates)), np.arange(queries * candidates).reshape(queries, -1))
    parts = list(steps(block, size, np.random.default_rng(0)))
    assert {q for part in parts for q in part.queries} == set(range(queries))
    assert {c for part in parts for c in part.candidates} == set(range(candidates))
    for part in parts:
        np.testing.assert_array_equal(part.labels, block.labels[np.ix_(part.queries, part.candidates)])


@given(samples=st.integers(4, 90), size=st.integers(4, 40))
def test_an_epoch_of_a_square_shows_every_sample_once_in_squares(samples, size):
    rows = list(range(samples))
    parts = list(steps(Block(rows, rows, np.zeros((samples, samples))), size, np.random.default_rng(0)))
    assert sorted(row for part in parts for row in part.queries) == rows
    assert all(part.is_square and len(part.queries) >= min(size, samples) for part in parts)
