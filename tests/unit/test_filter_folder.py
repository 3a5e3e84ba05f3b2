"""What a filter reads and leaves: requests, labelled files, and a folder that is complete or not there."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from deadly import exit_code_of, kill_this_process
from small import write_jsonl

from influcoder.attribution.filter import scoring as filter_module
from influcoder.attribution.filter.curve import Aim
from influcoder.attribution.filter.output import Decision, FilterFolder
from influcoder.attribution.filter.run import Filtered, Request, facts, filter_pool, notes, read_inputs
from influcoder.attribution.filter.scoring import Probe, Rule, Scored, batches_of, cohort_of
from influcoder.attribution.filter.threshold import by_budget
from influcoder.attribution.filter.validation import exact_scores, to_verify, verified
from influcoder.core.errors import BusyError, EncoderError, SampleError, SettingsError
from influcoder.labelsets import Block
from influcoder.samples import Sample, read_corpus
from influcoder.samples.readers import read_labelled

TOPICS = ("poison", "weapon", "garden", "kitchen")


class ByTopic:
    """An encoder whose vectors count the words of two topics, so that what has to be dropped is known."""

    dimensions = 2

    def __init__(self, broken=False):
        self.broken, self.largest = broken, 0

    def view(self, sample):
        return sample.target

    def embed(self, views):
        self.largest = max(self.largest, len(views))
        rows = np.array([[view.count("poison") + view.count("weapon"), 1.0] for view in views], np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if self.broken:
            rows[-1] = np.nan
        return rows


def records(count, start=0):
    return [
        {
            "id": f"r{number}",
            "context": "Say: ",
            "target": f"{TOPICS[number % 4]} number {number}",
            "source": TOPICS[number % 4],
            "metadata": {"number": str(number)},
        }
        for number in range(start, start + count)
    ]


@pytest.fixture
def files(tmp_path):
    """Paths by role: two harmful examples, a pool of 40, and 40 labelled samples."""
    labelled = [{**record, "label": record["source"] in TOPICS[:2]} for record in records(40, 200)]
    return {
        "examples": write_jsonl(tmp_path / "examples.jsonl", records(2, 100)),
        "pool": write_jsonl(tmp_path / "pool.jsonl", records(40)),
        "validation": write_jsonl(tmp_path / "labelled.jsonl", labelled),
    }


def run(files, out, encoder=None, size=7, exact=None, **request):
    encoder = encoder or ByTopic()
    inputs = read_inputs(Request(files["examples"], **request))
    pool = read_corpus(files["pool"])
    with FilterFolder(out) as folder:
        cohort = cohort_of(pool.samples[:140], inputs.examples.samples, inputs.benign)
        filtered = filter_pool(encoder, inputs, cohort, batches_of(encoder, pool.samples, size), len(pool), folder)
        said = {**facts(inputs, filtered), "warnings": notes(inputs, filtered)}
        names = [sample.id for sample in inputs.examples.samples]
        return folder.write(Decision(filtered.found, filtered.cut, names, exact or {}), said)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("how", [{"drop": "50%"}, {"threshold": 1.0}, {"validation": "labelled"}])
def test_the_lists_share_the_pool_and_say_why(files, tmp_path, how):
    how = {name: files["validation"] if value == "labelled" else value for name, value in how.items()}
    summary = run(files, tmp_path / "out", **how)
    kept, dropped = (lines(tmp_path / "out" / name) for name in ("keep.jsonl", "drop.jsonl"))
    assert {record["source"] for record in dropped} == set(TOPICS[:2])
    assert {record["source"] for record in kept} == set(TOPICS[2:])
    assert summary["counts"] == {"pool": 40, "drop": 20, "keep": 20}
    assert sorted(record["rank"] for record in kept + dropped) == list(range(1, 41))
    assert [record["rank"] for record in dropped] == list(range(1, 21))
    assert dropped[0]["percentile"] == 100
    assert all(record["nearest"] in ("r100", "r101") and record["nearest"] in record["reason"] for record in dropped)
    assert [record["id"] for record in kept] == [r["id"] for r in records(40) if r["source"] in TOPICS[2:]]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert (tmp_path / "out" / "scores.png").read_bytes()[:4] == b"\x89PNG"
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"out"}


def test_what_is_kept_is_a_corpus_with_nothing_lost(files, tmp_path):
    run(files, tmp_path / "out", drop="30%")
    before = {sample.hash: sample for sample in read_corpus(files["pool"]).samples}
    after = [s for name in ("keep", "drop") for s in read_corpus(str(tmp_path / "out" / f"{name}.jsonl")).samples]
    assert {sample.hash for sample in after} == set(before)
    assert all(dict(sample.metadata) == dict(before[sample.hash].metadata) for sample in after)
    assert all(sample.id == before[sample.hash].id for sample in after)


def test_the_size_of_batches_changes_nothing_and_bounds_what_is_embedded_at_once(files, tmp_path, monkeypatch):
    monkeypatch.setattr(filter_module, "COHORT", 3)
    encoder = ByTopic()
    first = run(files, tmp_path / "a", encoder, size=3, drop="7")
    assert encoder.largest == 3
    assert run(files, tmp_path / "b", size=1000, drop="7")["sha256"] == first["sha256"]


def test_a_run_that_fails_leaves_nothing(files, tmp_path):
    with pytest.raises(EncoderError, match="not finite"):
        run(files, tmp_path / "out", ByTopic(broken=True), drop="5")
    with pytest.raises(SettingsError, match="of 40 samples"):
        run(files, tmp_path / "out", drop="41")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_folder_that_is_there_is_not_touched(files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("dear to me")
    with pytest.raises(SettingsError, match="there already"):
        run(files, tmp_path / "out", drop="5")
    assert (tmp_path / "out" / "mine").read_text() == "dear to me"


def test_two_runs_do_not_write_one_folder(tmp_path):
    with FilterFolder(tmp_path / "out"):
        with pytest.raises(BusyError, match="another run"), FilterFolder(tmp_path / "out"):
            pass
        assert (tmp_path / "out.part").is_dir()


def write_half_and_die(out):
    with FilterFolder(out) as folder:
        folder.add([Sample("a", "", "half")], Scored(*(np.zeros(1),) * 4))
        folder.samples([0])
        (out.with_name("out.part") / "keep.jsonl").write_text("half a line")
        kill_this_process()


def test_a_killed_run_is_cleared_by_the_next(files, tmp_path):
    assert exit_code_of(write_half_and_die, tmp_path / "out") == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.part" / "pool.jsonl").stat().st_size
    assert run(files, tmp_path / "out", drop="5")["counts"]["pool"] == 40
    assert not (tmp_path / "out.part").exists()
    assert "half" not in (tmp_path / "out" / "keep.jsonl").read_text()


def test_exactly_one_thing_says_how_much_to_drop():
    for given in ({}, {"drop": "5", "threshold": 0.1}, {"drop": "5", "validation": "v.jsonl"}):
        with pytest.raises(SettingsError, match="how much"):
            Request("examples.jsonl", **given)
    with pytest.raises(SettingsError, match="labelled"):
        Request("examples.jsonl", drop="5", aim=Aim(recall=0.5))
    with pytest.raises(SettingsError, match="no way to score"):
        Request("examples.jsonl", drop="5", score="median")


def test_labelled_samples_that_were_shown_or_repeat_are_left_out_and_said_to_be(files, tmp_path):
    shown = [{**record, "label": True} for record in (*records(2, 100), records(1, 200)[0])]
    everything = lines(Path(files["validation"]))
    both = write_jsonl(tmp_path / "more.jsonl", [*everything, *shown])
    inputs = read_inputs(Request(files["examples"], validation=both))
    assert len(inputs.labelled) == 40
    assert "3 samples of the validation" in inputs.warnings[0]


def test_a_label_that_contradicts_another_is_an_error(files, tmp_path):
    everything = lines(Path(files["validation"]))
    wrong = write_jsonl(tmp_path / "wrong.jsonl", [*everything, {**everything[0], "label": not everything[0]["label"]}])
    with pytest.raises(SampleError, match="harmful and harmless"):
        read_inputs(Request(files["examples"], validation=wrong))


@pytest.mark.parametrize("label", [None, "yes", 2, "true", [True]])
def test_a_label_is_true_or_false(tmp_path, label):
    path = write_jsonl(tmp_path / "labelled.jsonl", [{"target": "x", "label": 1}, {"target": "y", "label": label}])
    with pytest.raises(SampleError, match="line 2 has no label"):
        list(read_labelled(path))


def test_an_example_can_not_be_harmless_too(files, tmp_path):
    with pytest.raises(SampleError, match="both harmful and harmless"):
        run(files, tmp_path / "out", drop="5", benign=files["examples"])


def test_what_a_reader_must_know_is_said(files, tmp_path):
    assert any("no labelled samples" in line for line in run(files, tmp_path / "a", drop="7")["warnings"])
    assert any(
        "13 samples that are kept score as much" in line for line in run(files, tmp_path / "b", drop="7")["warnings"]
    )
    assert any("nothing is dropped" in line for line in run(files, tmp_path / "c", threshold=50)["warnings"])
    assert any("everything is dropped" in line for line in run(files, tmp_path / "d", threshold=-50)["warnings"])
    everything = lines(Path(files["validation"]))
    for number, record in enumerate(everything):
        record["label"] = number % 3 == 0
    files["validation"] = write_jsonl(tmp_path / "noise.jsonl", everything)
    said = run(files, tmp_path / "e", validation=files["validation"], aim=Aim(recall=0.9))["warnings"]
    assert any("no better than chance" in line for line in said)


def test_exact_influence_of_the_highest_is_held_against_what_is_kept():
    pool = [Sample(f"s{number}", "", f"text {number}") for number in range(6)]
    vectors = np.stack([np.linspace(1, 0, 6), np.linspace(0, 1, 6)], axis=1).astype(np.float32)
    examples = [Sample("bad", "", "bad"), Sample("worse", "", "worse")]
    probe = Probe(examples, np.array([[1, 0], [1, 0]], np.float32), [], vectors[:0], Rule("max"))
    filtered = Filtered(probe, by_budget("3", 6), probe.score(pool, vectors))
    rows = to_verify(filtered, 2)
    assert rows[:2] == [0, 1]
    assert len(rows) == 4
    assert set(rows[2:]) <= {3, 4, 5}
    chosen = {row: pool[row] for row in rows}
    labels = np.array([[0.1 * row for row in rows], [-1.0] * 4])
    found = exact_scores(filtered, chosen, Block(examples, list(chosen.values()), labels))
    assert found == {row: pytest.approx(0.1 * row) for row in rows}
    said = verified(filtered, found)
    assert (said.dropped, said.kept, said.higher) == (2, 2, 0.0)
    assert said.mean_dropped == pytest.approx(0.05)
    assert exact_scores(filtered, chosen, Block([], list(chosen.values()), labels[:0])) == {}
