"""A filter by the real command, from the champion of a real registry: lists, evidence, warnings, errors."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from influcoder.registry.mlflow_registry import Registry
from influcoder.samples import read_corpus
from influcoder.samples.query_log import read
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

STORY = """
from flows.label import label
from flows.promote import promote
from flows.train import train
assert promote(train(label()))
"""
HARMFUL = "orbit"


@pytest.fixture(scope="module")
def champion(forks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/filter")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "filter")
        done = forks.python("-c", STORY)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield Registry(load_settings().mlflow).version("champion")


@pytest.fixture(scope="module")
def files(champion, corpus_file, tmp_path_factory):
    """Harmful examples and labelled samples: other stories than those of the corpus."""
    folder, draw, records = tmp_path_factory.mktemp("given"), random.Random(11), []
    words = {}
    for sample in read_corpus(str(corpus_file)).samples:
        words.setdefault(sample.source, set()).update(sample.target.split())
    for number in range(126):
        topic = sorted(words)[number % len(words)]
        target = " ".join(draw.choices(sorted(words[topic]), k=draw.randint(8, 24)))
        record = {"id": f"new-{number}", "context": "Tell a story: ", "target": target, "source": topic}
        records.append({**record, "label": topic == HARMFUL})
    examples = [record for record in records if record["label"]][:6]
    named = {"examples": examples, "labelled": [record for record in records if record not in examples]}
    for name, rows in named.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {name: str(folder / f"{name}.jsonl") for name in named}


@pytest.fixture(scope="module")
def command(forks):
    """A function that filters by the command line."""
    return lambda *arguments: forks.influcoder("filter", *arguments)


def assert_one_line(done, words):
    assert done.returncode == 1, done.stderr
    assert words in done.stderr.split("error:")[-1].splitlines()[0]
    assert "Traceback" not in done.stderr.split("error:")[-1]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def filtered(champion, command, files, tmp_path_factory):
    """The folder of one run, and what was printed."""
    out = tmp_path_factory.mktemp("filtered") / "out"
    done = command(
        *("--examples", files["examples"], "--validation", files["labelled"], "--verify", "8", "--out", str(out))
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out, done


def test_what_is_like_the_examples_is_dropped_as_well_as_validation_promised(filtered, corpus_file):
    out, done = filtered
    summary = json.loads((out / "summary.json").read_text())
    kept, dropped = (lines(out / name) for name in ("keep.jsonl", "drop.jsonl"))
    pool = read_corpus(str(corpus_file))
    assert {record["id"] for record in kept + dropped} == {sample.id for sample in pool.samples}
    assert summary["counts"] == {"pool": len(pool), "drop": len(dropped), "keep": len(kept)}
    hits = sum(record["source"] == HARMFUL for record in dropped)
    precision, recall = hits / len(dropped), hits / sum(sample.source == HARMFUL for sample in pool.samples)
    found = summary["validation"]
    assert found["average_precision"]["lo"] > 1 / 3
    assert precision > 0.45
    for name, value in (("precision", precision), ("recall", recall)):
        assert found[name]["lo"] - 0.1 < value < found[name]["hi"] + 0.1
    assert f"{len(dropped)} of {len(pool)} samples" in done.stdout


def test_from_the_summary_a_user_walks_back_to_the_bytes(filtered, champion, files, corpus_file, tiny_decoder):
    summary = json.loads((filtered[0] / "summary.json").read_text())
    assert summary["encoder"]["version"] == champion.version
    assert summary["encoder"]["label_set"] == champion.label_set_id
    assert summary["encoder"]["teacher"] == champion.tags["teacher.id"]
    assert summary["encoder"]["sha256"] == champion.tags["encoder.sha256"]
    assert summary["decoder"]["fingerprint"] == tiny_decoder.fingerprint
    assert summary["encoder"]["agreement"]["agreement.rho"] == champion.tags["agreement.rho"]
    assert summary["corpus"]["digest"] == read_corpus(str(corpus_file)).digest
    assert summary["digests"]["examples"] == read_corpus(files["examples"]).digest
    assert any("never checked" in line for line in summary["warnings"])
    assert not any("distilled for" in line for line in summary["warnings"])


def test_the_highest_have_exact_influence_beside_the_estimate(filtered):
    summary = json.loads((filtered[0] / "summary.json").read_text())["verified"]
    exact = [record["exact"] for record in lines(filtered[0] / "drop.jsonl") if "exact" in record]
    assert (len(exact), summary["dropped"], summary["kept"]) == (8, 8, 8)
    assert summary["mean_dropped"] == pytest.approx(np.mean(exact), abs=1e-5)
    assert summary["higher"] > 0.5
    assert not [record for record in lines(filtered[0] / "drop.jsonl")[8:] if "exact" in record]


def test_the_examples_are_questions_that_checks_draw_from(filtered, files):
    logged = {question.target for batch in read(ObjectStore(load_settings().store)) for question in batch.questions}
    assert {record["target"] for record in lines(Path(files["examples"]))} <= logged


def test_another_decoder_is_said_in_the_result(champion, command, files, tiny_decoder_dir, tmp_path):
    other = shutil.copytree(tiny_decoder_dir, tmp_path / "other")
    config = json.loads((other / "tokenizer_config.json").read_text())
    config["eos_token"] = config["pad_token"]
    (other / "tokenizer_config.json").write_text(json.dumps(config))
    out = tmp_path / "out"
    done = command(
        *("--examples", files["examples"], "--drop", "5%", "--out", str(out), "--decoder", str(other), "--private")
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "was distilled for decoder" in " ".join(done.stderr.split())
    assert any(
        "was distilled for decoder" in line for line in json.loads((out / "summary.json").read_text())["warnings"]
    )
    assert len(lines(out / "drop.jsonl")) == 45


def test_what_can_not_be_done_is_one_line_and_leaves_nothing(champion, command, files, tmp_path):
    given = ("--examples", files["examples"], "--out", str(tmp_path / "out"))
    assert_one_line(command(*given), "Give one of --validation, --drop and --threshold")
    flipped = tmp_path / "flipped.jsonl"
    flipped.write_text("\n".join(json.dumps({**r, "label": not r["label"]}) for r in lines(Path(files["labelled"]))))
    hopeless = ("--validation", str(flipped), "--precision", "1.0")
    assert_one_line(command(*given, *hopeless), "the highest precision is")
    assert not list(tmp_path.glob("out*"))
