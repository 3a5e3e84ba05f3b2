"""A corpus as a stream: the same samples and the same errors as in memory, without the texts."""

import json
import random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from influcoder.core.errors import SampleError
from influcoder.samples import Corpus, Sample, Stream, read_corpus
from influcoder.samples.stamps import corpus_address, corpus_stamp
from influcoder.samples.stream import Seen

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
RECORD = st.fixed_dictionaries(
    {"target": st.sampled_from("abcdef")}, optional={"id": st.sampled_from("1234567"), "context": st.sampled_from("xy")}
)


def in_memory(records):
    """What a corpus of records is, by dictionaries alone."""
    by_content, ids = {}, set()
    for record in records:
        sample = Sample(record.get("id") or "", record.get("context", ""), record["target"])
        if sample.hash in by_content:
            continue
        if record.get("id"):
            if record["id"] in ids:
                return None
            ids.add(record["id"])
        by_content[sample.hash] = sample
    return by_content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=4 * settings().max_examples)
@given(records=st.lists(RECORD, min_size=1, max_size=12))
def test_a_stream_holds_what_dictionaries_hold(tmp_path, records):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    expected = in_memory(records)
    stream = Stream(str(path))
    if expected is None:
        with pytest.raises(SampleError, match="stands for two different samples"):
            list(stream)
        return
    found = list(stream)
    assert [sample.hash for sample in found] == list(expected)
    assert stream.duplicates == len(records) - len(expected)
    assert stream.seen.rows == len(expected)
    assert stream.seen.digest() == Corpus("a", tuple(found)).digest
    assert read_corpus(str(path)).samples == tuple(found)


@given(contents=st.dictionaries(st.tuples(TEXT, TEXT.filter(str.strip)), TEXT, max_size=12), seed=st.integers(0, 9))
def test_digests_do_not_depend_on_order_and_names_count_apart(contents, seed):
    samples = [Sample(f"{n}", *pair, source=source) for n, (pair, source) in enumerate(contents.items())]
    shuffled = random.Random(seed).sample(samples, len(samples))
    one, two, renamed = (Seen() for _ in range(3))
    for sample in samples:
        assert one.add(sample, "a")
    for sample in shuffled:
        assert two.add(sample, "b")
    for sample in samples:
        renamed.add(Sample(f"x{sample.id}", sample.context, sample.target, sample.text, sample.source), "c")
    assert (one.digest(), one.names_digest()) == (two.digest(), two.names_digest())
    assert one.digest() == renamed.digest() == Corpus("a", tuple(samples)).digest
    assert (one.names_digest() == renamed.names_digest()) == (not samples)
    assert [one.row_of(sample.hash) for sample in samples] == list(range(len(samples)))
    assert one.row_of("0" * 64) is None


def test_a_map_of_parquet_is_metadata(tmp_path):
    kinds = pa.schema([("target", pa.string()), ("metadata", pa.map_(pa.string(), pa.string()))])
    table = pa.Table.from_pylist([{"target": "a", "metadata": [("n", "1")]}, {"target": "b"}], kinds)
    pq.write_table(table, tmp_path / "a.parquet")
    assert [sample.metadata for sample in Stream(str(tmp_path / "a.parquet"))] == [{"n": "1"}, {}]


def test_a_data_set_is_read_in_a_stream(tmp_path, samples):
    folder = tmp_path / "set"
    folder.mkdir()
    records = [{"id": s.id, "context": s.context, "target": s.target, "source": s.source} for s in samples]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, [*records, records[0]])))
    stream = Stream(f"hf:{folder}#train")
    assert list(stream) == samples
    assert stream.duplicates == 1
    with pytest.raises(SampleError, match="can't be read"):
        list(Stream(f"hf:{folder}#no-such-split"))


@pytest.mark.parametrize("uri", ["s3://bucket/key.csv", "s3://bucket/folder"])
def test_an_object_of_another_kind_is_refused(uri):
    with pytest.raises(SampleError, match="no corpus that can be read"):
        list(Stream(uri))


def test_the_stamp_of_a_file_moves_with_it(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"target": ["a"]}).to_parquet(path)
    first = corpus_stamp(str(path))
    assert first == corpus_stamp(str(path))
    pd.DataFrame({"target": ["a", "b"]}).to_parquet(path)
    assert corpus_stamp(str(path)) != first
    assert corpus_stamp(str(tmp_path / "none.jsonl")) is None
    assert corpus_stamp("docs:json") == corpus_stamp("docs:json") != corpus_stamp("docs:json,textwrap")
    assert corpus_stamp("docs:no_such_package") is None


def test_the_address_of_a_path_does_not_depend_on_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert corpus_address("a.jsonl") == str(tmp_path / "a.jsonl") == corpus_address(str(tmp_path / "a.jsonl"))
    assert corpus_address("docs:json") == "docs:json"
