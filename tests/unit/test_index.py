"""Indexes in a folder, without a server: built, grown, killed, damaged, and asked."""

import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from deadly import DeadlyFolder, exit_code_of
from small import write_jsonl

from influcoder.attribution import attribute, attribute_from
from influcoder.core.errors import EncoderError, IntegrityError, SampleError
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import TrainingSamples, solve
from influcoder.index import Embedder, Index, corpus_files, manifests
from influcoder.index import vectors as vectors_module
from influcoder.index.build import build, current, published_index
from influcoder.index.corpus_files import write_corpus_files
from influcoder.index.manifest import pointer_of
from influcoder.index.search import Searcher
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.samples import Sample, read_corpus
from influcoder.storage.folder import Folder

TAGS = {"labelset.id": "labels", "decoder.fingerprint": "decoder", "teacher.id": "teacher"}
VERSION = EncoderVersion("3", "run", ("champion",), TAGS, "")
EMBEDDER = Embedder(files="a" * 64)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INFLUCODER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def encoder(samples, tiny_decoder):
    draw = np.random.default_rng(0).standard_normal((40, 12))
    draw /= np.linalg.norm(draw, axis=1, keepdims=True)
    rows = np.arange(40)
    return Encoder.of(solve(TrainingSamples(samples[:40], draw @ draw.T, rows, rows), tiny_decoder, 24, seed=0)[0])


@pytest.fixture
def counted(encoder, monkeypatch):
    """How many samples were embedded in each call."""
    calls, embed = [], encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda views: calls.append(len(views)) or embed(views))
    return calls


@pytest.fixture
def store(tmp_path):
    return Folder(tmp_path / "store")


def write(path: Path, samples, extra=()) -> str:
    fields = ("id", "context", "target", "text", "source", "metadata")
    records = [{name: getattr(sample, name) for name in fields} for sample in samples]
    return write_jsonl(path, [*(dict(record, metadata=dict(record["metadata"])) for record in records), *extra])


@pytest.fixture
def corpus(tmp_path, samples):
    return write(tmp_path / "pool.jsonl", samples)


def test_an_index_answers_as_the_encoder_does(encoder, store, corpus, samples):
    built = build(store, VERSION, encoder, EMBEDDER, corpus)
    assert (built.embedded, built.manifest.rows) == (len(samples), len(samples))
    assert built.manifest.identity.corpus == read_corpus(corpus).digest
    index = Index.open(store, built.manifest.id)
    outputs = [Sample("a", "What is 3 plus 24?", "It is 27."), Sample("b", "", "Once there was a kettle.")]
    for output, found in zip(outputs, attribute_from(index, encoder, outputs, 7, 4), strict=True):
        expected = attribute(encoder, output, samples, 7, 4)
        for end, wanted in ((found.most, expected.most), (found.least, expected.least)):
            np.testing.assert_allclose([i.score for i in end], [i.score for i in wanted], atol=2e-3)
            assert [i.rank for i in end] == [i.rank for i in wanted]
            assert [i.percentile for i in end] == [i.percentile for i in wanted]
        assert {item.sample for item in found.most} <= set(samples)
        scores = dict(zip((s.hash for s in samples), encoder.scores([output], samples)[0], strict=True))
        assert all(abs(scores[i.sample.hash] - i.score) < 2e-3 for i in (*found.most, *found.least))
    assert found.most[0].percentile == 100
    assert found.least[0].rank == len(samples)
    assert found.most[0].sample.metadata == {"length": str(len(found.most[0].sample.target))}


def test_an_index_of_several_segments_and_shards_answers_alike(encoder, store, corpus, samples, monkeypatch, tmp_path):
    whole = Index(store, build(store, VERSION, encoder, EMBEDDER, corpus).manifest)
    monkeypatch.setattr("influcoder.index.publish.segment_rows", lambda _: 13)
    monkeypatch.setattr(corpus_files, "GROUP", 5)
    monkeypatch.setattr(corpus_files, "SHARD_BYTES", 4000)
    monkeypatch.setattr(vectors_module, "SHARD", 9)
    other = Embedder(files="b" * 64)
    parts = Index(store, build(store, VERSION, encoder, other, corpus).manifest)
    assert len(parts.manifest.segments) == 7
    assert len(parts.manifest.shards) > 3
    outputs = samples[:5]
    for one, many in zip(*(attribute_from(index, encoder, outputs, 20, 9) for index in (whole, parts)), strict=True):
        assert [i.rank for i in one.most] == [i.rank for i in many.most]
        np.testing.assert_allclose([i.score for i in one.most], [i.score for i in many.most], atol=1e-6)
        assert one == many
    everything = parts.samples(range(len(samples)))
    assert [everything[row] for row in range(len(samples))] == samples
    rows = np.concatenate([rows for rows, _ in parts.vectors()])
    assert sorted(rows.tolist()) == list(range(len(samples)))
    read = [pair for batch in parts.batches(tmp_path) for pair in zip(*batch, strict=True)]
    assert [sample for sample, _ in read] == list(samples)
    exact = encoder.embed([encoder.view(sample) for sample in samples])
    np.testing.assert_allclose([vector for _, vector in read], exact, atol=2e-3)


def test_equal_samples_rank_in_the_order_of_the_corpus(encoder, store, tmp_path):
    same = [Sample(str(number), "", "the same words", f"seen by a text encoder alone: {number}") for number in range(9)]
    index = Index(store, build(store, VERSION, encoder, EMBEDDER, write(tmp_path / "a.jsonl", same)).manifest)
    found = attribute_from(index, encoder, same[:1], 9, 9)[0]
    assert [item.sample.id for item in found.most] == [str(number) for number in range(9)]
    assert [item.sample.id for item in found.least] == [str(number) for number in range(9)]


def test_the_same_content_is_one_index_and_nothing_is_done_twice(encoder, store, corpus, samples, tmp_path, counted):
    first = build(store, VERSION, encoder, EMBEDDER, corpus)
    assert current(store, EMBEDDER, corpus) == first.manifest
    again = build(store, VERSION, encoder, EMBEDDER, corpus)
    shuffled = write(
        tmp_path / "other.jsonl", samples[::-1], [{"context": samples[0].context, "target": samples[0].target}]
    )
    third = build(store, VERSION, encoder, EMBEDDER, shuffled)
    assert first.manifest == again.manifest == third.manifest
    assert (again.embedded, third.embedded) == (0, 0)
    assert sum(counted) == len(samples)


def test_only_what_is_new_or_changed_is_embedded(encoder, store, corpus, samples, counted):
    first = build(store, VERSION, encoder, EMBEDDER, corpus)
    counted.clear()
    changed = [*samples[:-1], Sample(samples[-1].id, "", "another text")]
    write(Path(corpus), changed, [{"id": "new", "target": "one more sample"}])
    assert current(store, EMBEDDER, corpus) is None
    second = build(store, VERSION, encoder, EMBEDDER, corpus)
    assert second.embedded == sum(counted) == 2
    assert second.manifest.id != first.manifest.id
    assert second.manifest.rows == len(samples) + 1
    assert {found.id for found in manifests(store)} == {first.manifest.id, second.manifest.id}
    old = Index.open(store, first.manifest.id)
    assert samples[-1] in old.samples(range(len(old))).values(), "an index that is there stays as it is"


def test_other_names_of_the_same_contents_are_another_index(encoder, store, corpus, samples, counted):
    first = build(store, VERSION, encoder, EMBEDDER, corpus)
    write(Path(corpus), [Sample(f"x{s.id}", s.context, s.target, s.text, "elsewhere") for s in samples])
    second = build(store, VERSION, encoder, EMBEDDER, corpus)
    assert first.manifest.identity.corpus == second.manifest.identity.corpus
    assert first.manifest.id != second.manifest.id
    assert second.embedded == 0
    assert Index(store, second.manifest).samples([0])[0].source == "elsewhere"


def test_an_encoder_that_was_rolled_back_to_finds_its_own_index(encoder, store, corpus):
    mine = build(store, VERSION, encoder, EMBEDDER, corpus).manifest
    other = Embedder(files="b" * 64)
    theirs = build(store, VERSION, encoder, other, corpus).manifest
    assert mine.id != theirs.id
    assert published_index(store, EMBEDDER, corpus)[0].manifest == mine
    assert published_index(store, other, corpus)[0].manifest == theirs


@pytest.mark.parametrize("changes", [{"files": "b" * 64}, {"max_tokens": 64}, {"decoder": "d"}], ids=str)
def test_whatever_decides_about_vectors_makes_another_embedder(changes):
    assert EMBEDDER.model_copy(update=changes).id != EMBEDDER.id


def test_a_corpus_that_changed_meanwhile_is_said_to(encoder, store, corpus, samples):
    assert published_index(store, EMBEDDER, corpus) is None
    build(store, VERSION, encoder, EMBEDDER, corpus)
    index, warning = published_index(store, EMBEDDER, corpus)
    assert not warning
    write(Path(corpus), samples[:-1])
    again, warning = published_index(store, EMBEDDER, corpus)
    assert again.manifest == index.manifest
    assert "was changed after index" in warning
    assert "influcoder index" in warning


class Counting:
    """Stands where an encoder does, and counts what it is shown."""

    in_closed_form, uri, dimensions = True, "counting", 4

    def __init__(self):
        self.embedded = 0

    def view(self, sample):
        return sample.context, sample.target

    def embed(self, views):
        self.embedded += len(views)
        return np.array([[len(context), len(target), 1, 2] for context, target in views], np.float32) / 500


def build_and_die(path, corpus, deadly):
    import faiss

    # Threads do not survive a fork.
    faiss.omp_set_num_threads(1)
    build(DeadlyFolder(path, deadly), VERSION, Counting(), EMBEDDER, corpus)


def test_a_build_that_is_killed_at_any_write_goes_on_and_pays_for_nothing_twice(tmp_path, samples, monkeypatch):
    monkeypatch.setattr(corpus_files, "GROUP", 4)
    monkeypatch.setattr(vectors_module, "SHARD", 8)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    corpus = write(tmp_path / "pool.jsonl", samples[:30])
    whole = build(Folder(tmp_path / "whole"), VERSION, Counting(), EMBEDDER, corpus).manifest
    # Four shards of vectors, a segment, a shard of samples, the manifest, the pointer.
    for deadly in range(1, 9):
        path = tmp_path / f"killed-{deadly}"
        assert exit_code_of(build_and_die, path, corpus, deadly) == -signal.SIGKILL
        store, again = Folder(path), Counting()
        assert store.exists(f"indexes/{whole.id}/manifest.json") == (deadly > 7)
        built = build(store, VERSION, again, EMBEDDER, corpus)
        assert again.embedded == built.embedded == max(30 - 8 * (deadly - 1), 0)
        assert built.manifest.model_copy(update={"created": whole.created}) == whole
        assert pointer_of(store, EMBEDDER, corpus).index == whole.id
    assert exit_code_of(build_and_die, path, corpus, 1) == 0, "where everything is there, nothing is written"
    assert not list((tmp_path / "temporary").iterdir()), "what a killed build left is gone"


def test_vectors_in_the_store_that_were_damaged_are_embedded_again(encoder, store, corpus, samples, counted, tmp_path):
    first = build(store, VERSION, encoder, EMBEDDER, corpus).manifest
    (shard,) = (tmp_path / "store/vectors").glob("*/*.safetensors")
    for damage in (lambda data: data[:-7], lambda data: data[:-1] + b"\x01", lambda _: b"\x07" * 40):
        data = shard.read_bytes()
        shard.write_bytes(damage(data))
        (tmp_path / f"store/indexes/{first.id}/manifest.json").unlink()
        counted.clear()
        assert build(store, VERSION, encoder, EMBEDDER, corpus).embedded == len(samples) == sum(counted)
        shard.write_bytes(data)


def copies(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("ending", [".faiss", ".parquet"])
def test_a_damaged_local_copy_is_fetched_again(encoder, store, corpus, samples, cache, ending):
    manifest = build(store, VERSION, encoder, EMBEDDER, corpus).manifest
    expected = attribute_from(Index(store, manifest), encoder, samples[:2], 3)
    for damage in (lambda data: data[: len(data) // 2], lambda data: data[:-9] + b"x" * 9, lambda _: b""):
        (path,) = [path for path in copies(cache) if path.suffix == ending]
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        assert attribute_from(Index(store, manifest), encoder, samples[:2], 3) == expected
        assert path.read_bytes() == whole
    assert not [path for path in copies(cache) if ".part" in path.name]


@pytest.mark.parametrize("ending", [".faiss", ".parquet"])
def test_a_damaged_object_is_refused_and_leaves_no_copy(encoder, store, corpus, samples, cache, tmp_path, ending):
    manifest = build(store, VERSION, encoder, EMBEDDER, corpus).manifest
    (path,) = (tmp_path / f"store/indexes/{manifest.id}").glob(f"*{ending}")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        attribute_from(Index(store, manifest), encoder, samples[:1], 3)
    assert not [path for path in copies(cache) if path.suffix == ending or ".part" in path.name]


def test_a_manifest_that_was_changed_is_refused(encoder, store, corpus, tmp_path):
    manifest = build(store, VERSION, encoder, EMBEDDER, corpus).manifest
    path = tmp_path / f"store/indexes/{manifest.id}/manifest.json"
    whole = path.read_text()
    path.write_text(whole.replace(manifest.identity.corpus, "0" * 64))
    with pytest.raises(IntegrityError, match="was changed"):
        Index.open(store, manifest.id)
    path.write_text(whole[:-20])
    with pytest.raises(IntegrityError, match="no Manifest"):
        Index.open(store, manifest.id)
    with pytest.raises(IntegrityError, match="there is no index"):
        Index.open(store, "0" * 20)


def test_a_damaged_pointer_is_made_again(encoder, store, corpus, tmp_path, counted):
    manifest = build(store, VERSION, encoder, EMBEDDER, corpus).manifest
    (path,) = (tmp_path / "store/indexes/at").glob("*.json")
    path.write_text("{")
    counted.clear()
    assert published_index(store, EMBEDDER, corpus) is None
    assert build(store, VERSION, encoder, EMBEDDER, corpus).manifest == manifest
    assert not counted
    assert pointer_of(store, EMBEDDER, corpus).index == manifest.id


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_a_vector_that_is_not_finite_is_refused_by_name(encoder, store, corpus, samples, monkeypatch, value):
    embed = encoder.embed

    def spoilt(views):
        vectors = embed(views)
        vectors[3, 1] = value
        return vectors

    monkeypatch.setattr(encoder, "embed", spoilt)
    with pytest.raises(EncoderError, match=f"sample '{samples[3].id}' no finite vector"):
        build(store, VERSION, encoder, EMBEDDER, corpus)
    assert not manifests(store)


def test_a_corpus_that_is_refused_leaves_nothing(encoder, store, corpus, samples):
    write(Path(corpus), samples, [{"id": samples[0].id, "target": "another content"}])
    with pytest.raises(SampleError, match="stands for two different samples"):
        build(store, VERSION, encoder, EMBEDDER, corpus)
    assert not list(store.keys("indexes"))
    assert not list(store.keys(f"vectors/{EMBEDDER.id}"))


def test_texts_survive_the_files(tmp_path, samples):
    odd = [
        Sample("1", "", "Zürich → 🌊", "", "", {"a": "é", "b": ""}),
        Sample("2", "c", "t", "a view of its own"),
        Sample("3", " c ", "t\n"),
    ]
    (tmp_path / "files").mkdir()
    pool = write_corpus_files(write(tmp_path / "a.jsonl", [*odd, *samples]), tmp_path / "files")
    found = [sample for _, group in pool.groups() for sample in group]
    assert found == [*odd, *samples]
    assert [sample.metadata for sample in found] == [sample.metadata for sample in (*odd, *samples)]
    assert [pool.seen.row_of(sample.hash) for sample in found] == list(range(len(found)))


def test_a_search_reads_its_file_and_not_the_samples(encoder, store, corpus, samples, cache):
    manifest = build(store, VERSION, encoder, EMBEDDER, corpus).manifest
    index = Index(store, manifest)
    index.most(encoder.embed([encoder.view(samples[0])]), 3)
    assert {path.suffix for path in copies(cache)} == {".faiss"}
    (path,) = copies(cache)
    mapped = Path("/proc/self/maps").read_text()
    assert str(path) in mapped, "the file is mapped, not read"
    assert len(Searcher(path, 1)) == len(samples)
