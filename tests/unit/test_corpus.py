import gzip
import random

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import write_jsonl

from influcoder.core.errors import SampleError
from influcoder.samples import Corpus, Sample, read_corpus

# Every character that UTF-8 can hold, which is all but the surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TARGET = TEXT.filter(str.strip)


def test_jsonl_gives_every_field(tmp_path):
    record = {"id": "1", "context": "c", "target": "t", "text": "x", "source": "s", "metadata": {"n": 1}}
    (sample,) = read_corpus(write_jsonl(tmp_path / "a.jsonl", [record])).samples
    assert (sample.id, sample.context, sample.target, sample.text, sample.source) == ("1", "c", "t", "x", "s")
    assert sample.metadata == {"n": "1"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.fixed_dictionaries({"context": TEXT, "target": TARGET, "source": TEXT}), min_size=1))
def test_jsonl_keeps_any_text(tmp_path, records):
    numbered = [{"id": str(number), **record} for number, record in enumerate(records)]
    corpus = read_corpus(write_jsonl(tmp_path / "a.jsonl", numbered))
    first = {(record["context"], record["target"]): record["source"] for record in reversed(records)}
    assert {(s.context, s.target): s.source for s in corpus.samples} == first
    assert len(corpus) + corpus.duplicates == len(records)


def test_blank_lines_are_no_samples(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"target": "a"}\n  \n{"target": "b"}\n')
    assert len(read_corpus(str(path))) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "line 3 is no JSON"),
        ('["target"]', "line 3 is no JSON object"),
        ('{"context": "c"}', "line 3 has an empty target"),
        ('{"target": "  "}', "line 3 has an empty target"),
        ('{"target": 7}', "line 3: 'target' is no text"),
        ('{"target": "t", "metadata": ["m"]}', "line 3: 'metadata' is no object"),
    ],
)
def test_jsonl_error_names_the_line(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"target": "a"}}\n\n{line}\n')
    with pytest.raises(SampleError, match=message):
        read_corpus(str(path))


def test_jsonl_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"target": "Zürich"}\n'.encode("latin-1"))
    with pytest.raises(SampleError, match="can't be read"):
        read_corpus(str(path))


def test_gzipped_jsonl_reads_like_plain(tmp_path, samples):
    records = [{"id": s.id, "context": s.context, "target": s.target} for s in samples]
    plain = write_jsonl(tmp_path / "a.jsonl", records)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    assert read_corpus(f"{plain}.gz").samples == read_corpus(plain).samples


def test_truncated_gzip_is_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"target": "a"}\n' * 100)[:-9])
    with pytest.raises(SampleError, match="can't be read"):
        read_corpus(str(path))


@pytest.mark.parametrize("name", ["none.jsonl", "none.jsonl.gz", "none.parquet"])
def test_missing_file_is_named(tmp_path, name):
    with pytest.raises(SampleError, match=f"{name} can't be read"):
        read_corpus(str(tmp_path / name))


def test_file_without_samples_is_refused(tmp_path):
    with pytest.raises(SampleError, match="holds no sample"):
        read_corpus(write_jsonl(tmp_path / "a.jsonl", []))


def test_id_of_two_contents_is_refused(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": "1", "target": "a"}, {"id": "1", "target": "b"}])
    with pytest.raises(SampleError, match="id '1' stands for two different samples"):
        read_corpus(path)


def test_content_that_stood_there_is_dropped_and_counted(tmp_path):
    records = [{"id": "1", "target": "a"}, {"id": "1", "target": "a"}, {"id": "2", "target": "a"}, {"target": "b"}]
    corpus = read_corpus(write_jsonl(tmp_path / "a.jsonl", records))
    assert [sample.target for sample in corpus.samples] == ["a", "b"]
    assert corpus.samples[0].id == "1"
    assert corpus.duplicates == 2


def test_parquet_round_trip(tmp_path, samples):
    path = tmp_path / "a.parquet"
    pd.DataFrame(
        [{name: getattr(s, name) for name in ("id", "context", "target", "text", "source")} for s in samples]
    ).to_parquet(path)
    assert read_corpus(str(path)).samples == tuple(samples)


def test_parquet_error_names_the_row(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"target": ["a", None]}).to_parquet(path)
    with pytest.raises(SampleError, match="row 2 has an empty target"):
        read_corpus(str(path))


def test_truncated_parquet_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"target": [f"answer {number}" for number in range(500)]}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SampleError, match="no Parquet file"):
        read_corpus(str(path))


@pytest.mark.parametrize("uri", ["a.csv", "ftp:somewhere", ""])
def test_unknown_uri_is_refused(uri):
    with pytest.raises(SampleError, match="no corpus that can be read"):
        read_corpus(uri)


def test_documentation_of_the_standard_library():
    corpus = read_corpus("docs:json,textwrap")
    assert {sample.source.split(".")[0] for sample in corpus.samples} == {"json", "textwrap"}
    assert min(len(sample.target) for sample in corpus.samples) >= 120
    wrap = next(sample for sample in corpus.samples if "textwrap.wrap " in sample.context)
    assert wrap.target.startswith("Wrap a single paragraph of text")


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        ("no_such_package", "not installed"),
        ("json,no_such_package", "no_such_package.*not installed"),
        ("json.no_such_module", "no Python source"),
        ("", "names no package"),
    ],
)
def test_documentation_of_an_unknown_package_is_refused(packages, message):
    with pytest.raises(SampleError, match=message):
        read_corpus(f"docs:{packages}")


@given(contents=st.lists(st.tuples(TEXT, TARGET), unique=True), seed=st.integers(0, 99))
def test_digest_does_not_depend_on_order(contents, seed):
    samples = [Sample(str(number), *content) for number, content in enumerate(contents)]
    shuffled = random.Random(seed).sample(samples, len(samples))
    assert Corpus("a", tuple(samples)).digest == Corpus("b", tuple(shuffled)).digest


def test_digest_depends_on_every_sample(samples):
    whole = Corpus("a", tuple(samples)).digest
    assert (
        len({whole, *(Corpus("a", tuple(s for s in samples if s is not left)).digest for left in samples)})
        == len(samples) + 1
    )
