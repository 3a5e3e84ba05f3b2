"""Outputs are read from files, and answers appear in files whole or not at all."""

import json

import pandas as pd
import pytest

from influcoder.core.errors import SampleError, SettingsError
from influcoder.serving.outputs import Exchange, read_outputs, written

ROW = {
    "output": "o",
    "end": "most",
    "rank": 1,
    "score": 0.25,
    "percentile": 100.0,
    "exact": None,
    "source": "s",
    "id": "1",
    "text": "Zürich",
    "metadata": {"a": "b"},
    "encoder": "7",
    "label_set": "l",
    "decoder": "d",
    "agreement": 0.5,
    "agreement_lo": 0.4,
    "agreement_hi": None,
    "agreement_floor": 0.1,
    "agreement_lift": 0.3,
    "agreement_ceiling": None,
    "index": "i",
    "corpus": "c",
    "warnings": ["careful"],
}


def test_both_kinds_of_records_are_read(tmp_path):
    records = [
        {"id": "1", "prompt": "p", "answer": "a"},
        {"prompt": "p"},
        {"id": "3", "context": "c", "target": "t", "metadata": {"n": 2}},
    ]
    path = tmp_path / "outputs.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    first, second, third = read_outputs(path)
    assert first == Exchange("1", "p", "a")
    assert second == Exchange("", "p", "")
    assert (third.sample.id, third.sample.context, third.sample.target) == ("3", "c", "t")
    pd.DataFrame(records[:2]).to_parquet(tmp_path / "outputs.parquet")
    assert list(read_outputs(tmp_path / "outputs.parquet")) == [first, second]


def test_an_id_stands_for_one_output(tmp_path):
    path = tmp_path / "outputs.jsonl"
    same, other = {"id": "1", "prompt": "p", "answer": "a"}, {"id": "1", "prompt": "p", "answer": "b"}
    path.write_text("\n".join(map(json.dumps, (same, same))))
    assert len(list(read_outputs(path))) == 2
    path.write_text("\n".join(map(json.dumps, (same, other))))
    with pytest.raises(SampleError, match="line 2: id '1' stands for two different outputs"):
        list(read_outputs(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "1"}', "line 2 holds nothing to attribute"),
        ('{"prompt": "  ", "answer": ""}', "line 2 holds nothing to attribute"),
        ('{"prompt": 7}', "line 2: id, prompt and answer are texts"),
        ('{"target": ["t"]}', "line 2: 'target' is no text"),
        ("{", "line 2 is no JSON"),
    ],
)
def test_a_record_that_can_not_be_used_is_named(tmp_path, line, message):
    path = tmp_path / "outputs.jsonl"
    path.write_text(f'{{"prompt": "p"}}\n{line}\n')
    with pytest.raises(SampleError, match=message):
        list(read_outputs(path))


@pytest.mark.parametrize(("name", "message"), [("a.csv", "no file of outputs"), ("a.jsonl", "is not there")])
def test_a_file_that_can_not_be_read_is_refused_before_any_work(tmp_path, name, message):
    with pytest.raises(SampleError, match=message):
        read_outputs(tmp_path / name)


def test_a_file_without_outputs_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(SampleError, match="holds no output"):
        list(read_outputs(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_rows_are_written_and_read_again(tmp_path, name):
    path = tmp_path / name
    with written(path) as sink:
        sink.write([ROW])
        sink.write([{**ROW, "rank": 2, "exact": -0.5, "metadata": {}, "warnings": []}])
        assert not path.exists()
    found = pd.read_json(path, lines=True) if path.suffix == ".jsonl" else pd.read_parquet(path)
    assert set(found.columns) == set(ROW)
    assert found["rank"].tolist() == [1, 2]
    assert found["text"].tolist() == ["Zürich"] * 2
    assert found["exact"].isna().tolist() == [True, False]
    assert [dict(item) for item in found["metadata"]] == [{"a": "b"}, {}]
    assert [list(item) for item in found["warnings"]] == [["careful"], []]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_work_that_fails_leaves_the_old_file_and_no_other(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")

    def fail():
        with written(path) as sink:
            sink.write([ROW])
            raise SampleError("line 7 is bad")

    with pytest.raises(SampleError, match="line 7"):
        fail()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("name", "message"), [("a.csv", "can't be written"), ("none/a.jsonl", "is not there")])
def test_an_address_that_can_not_be_written_to_is_refused(tmp_path, name, message):
    with pytest.raises(SettingsError, match=message), written(tmp_path / name):
        pass
