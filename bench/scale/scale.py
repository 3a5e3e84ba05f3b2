"""What limits a large label set, measured on this machine: the rates behind docs/scale.md.

Needs the stack's S3 server (`influcoder up`, or INFLUCODER_STORE__* of another one). The features are random
numbers in the form of real ones: nothing here computes influence.
"""

import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from bench.common import table
from influcoder.encoder import Encoder
from influcoder.influence.features.cache import FeatureCache, FeatureTable
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.scores import influence
from influcoder.labelsets import plan_spot
from influcoder.labelsets.labelset import LabelSet
from influcoder.labelsets.manifest import Identity, SampleRef
from influcoder.labelsets.plan import Entry
from influcoder.labelsets.validation import validate
from influcoder.samples import Corpus, Sample, read_corpus
from influcoder.settings.labels import SplitBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

SHARDS, SHARD, DIMENSIONS = 400, 32, 8192
POOL = 100_000
TEXTS = 512
CORPUS = "docs:numpy,scipy,pandas"
TEACHER = Teacher(decoder_fingerprint="0" * 64, spec=TeacherSpec())
Row = tuple[str, str]


def main() -> None:
    """Measure, print and keep the table."""
    texts = [sample.target for sample in read_corpus(CORPUS).samples]
    rows = [*store_rows(), *plan_rows(texts), manifest_row(), score_row(), *pair_rows(), *encoder_rows(texts)]
    table(("what", "measured"), rows, "scale", "Rates behind docs/scale.md, one run on this machine.")


def store_rows() -> list[Row]:
    """Shards written, headers read by `FeatureCache.known`, shards read, on one connection each."""
    settings = load_settings().store
    store = ObjectStore(settings.model_copy(update={"prefix": f"bench/scale-{time.time_ns()}"}))
    cache = FeatureCache(store, TEACHER.id)
    draw = np.random.default_rng(0)
    tables = [features(draw, shard) for shard in range(SHARDS)]
    write = seconds(lambda: [cache.add(shard) for shard in tables])
    look = seconds(cache.known)
    tracemalloc.start()
    known = cache.known()
    held = tracemalloc.get_traced_memory()[0] / len(known)
    tracemalloc.stop()
    read = seconds(lambda: list(cache.load(list(known), known)))
    for key in list(store.keys("")):
        store.delete(key)
    size = tables[0].vectors.nbytes / 1e6
    return [
        (f"write a shard of {SHARD} samples ({size:.2f} MB)", f"{write / SHARDS * 1e3:.1f} ms"),
        ("`FeatureCache.known()`, for each shard", f"{look / SHARDS * 1e3:.1f} ms"),
        ("what it gives, for each sample", f"{held:.0f} bytes"),
        ("read a shard and verify it", f"{read / SHARDS * 1e3:.1f} ms"),
    ]


def plan_rows(texts: list[str]) -> list[Row]:
    """Memory of a corpus, and of the plan of a tenth of it, with texts of real lengths."""
    tracemalloc.start()
    samples = tuple(Sample(str(n), f"sample {n}", f"{texts[n % len(texts)]} {n}") for n in range(POOL))
    corpus = Corpus("bench", samples)
    assert corpus.digest
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    fresh = Corpus("bench", tuple(Sample(s.id, s.context, s.target) for s in samples))
    budget = SplitBudget(queries=POOL // 100, candidates=POOL // 10)
    spent = seconds(lambda: plan_spot(fresh, None, budget, 0))
    mean = np.mean([len(sample.target) for sample in samples])
    return [
        (f"memory of a sample in a corpus (target of {mean:.0f} characters)", f"{held / POOL / 1e3:.2f} kB"),
        ("hash a pool and draw from it, for each sample of the pool", f"{spent / POOL * 1e6:.0f} µs"),
    ]


def manifest_row() -> Row:
    """Bytes that one more sample adds to a manifest."""
    sizes = [len(identity(sample_refs(count)).model_dump_json(indent=1)) for count in (1000, 2000)]
    return "manifest, for each sample", f"{(sizes[1] - sizes[0]) / 1000:.0f} bytes"


def score_row() -> Row:
    """Cosines of queries and candidates."""
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((2000, DIMENSIONS), np.float32).astype(np.float16)
    spent = seconds(lambda: influence(rows, rows))
    return f"cosines of {DIMENSIONS} dimensions, for a million pairs", f"{spent / 4:.2f} s"


def pair_rows() -> list[Row]:
    """Memory of the table of pairs, and Great Expectations over label sets of two sizes."""
    spent = [seconds(lambda count=count: validate(label_set(count), strict=False)) for count in (200, 1000)]
    labels = label_set(1000)
    tracemalloc.start()
    assert len(labels.pairs) == 1000**2
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return [
        ("Great Expectations, for a million pairs more", f"{(spent[1] - spent[0]) / (1000**2 - 200**2) * 1e6:.1f} s"),
        (
            "memory of the table of a million pairs, and its peak in the making",
            f"{held / 1e6:.0f} MB, {peak / 1e6:.0f} MB",
        ),
    ]


def encoder_rows(texts: list[str]) -> list[Row]:
    """Samples a second of the default encoder."""
    encoder = Encoder(load_settings().encoder.base, 128)
    chosen = texts[:: max(1, len(texts) // TEXTS)][:TEXTS]
    encoder.embed(chosen[:64])
    spent = sorted(seconds(lambda: encoder.embed(chosen)) for _ in range(3))
    rates = [len(chosen) / value for value in reversed(spent)]
    return [("encoder, 128 tokens at most", f"{rates[1]:.0f} samples a second ({rates[0]:.0f} to {rates[2]:.0f})")]


def features(draw: np.random.Generator, shard: int) -> FeatureTable:
    """A shard of random features."""
    vectors = draw.standard_normal((SHARD, DIMENSIONS), np.float32).astype(np.float16)
    columns = (np.ones(SHARD, np.float32) for _ in range(3))
    return FeatureTable(tuple(f"{shard * SHARD + row:064x}" for row in range(SHARD)), vectors, *columns)


def sample_refs(count: int) -> list[SampleRef]:
    """Samples of a manifest, half of them queries."""
    roles = ("query", "candidate")
    return [SampleRef(hash=f"{n:064x}", role=roles[2 * n // count], split="report") for n in range(count)]


def identity(refs: list[SampleRef]) -> Identity:
    """The identity of a label set of these samples."""
    return Identity(kind="spot", teacher=TEACHER, samples=tuple(refs), sources=())


def label_set(count: int) -> LabelSet:
    """A label set of so many queries and candidates, with small features."""
    samples = [Sample(str(n), "", f"target {n}") for n in range(2 * count)]
    roles = ["query"] * count + ["candidate"] * count
    entries = tuple(Entry(sample, role, "report") for sample, role in zip(samples, roles, strict=True))
    refs = [SampleRef(hash=e.sample.hash, role=e.role, split=e.split) for e in entries]
    vectors = np.random.default_rng(0).standard_normal((2 * count, 64)).astype(np.float16) / 8
    columns = (np.ones(2 * count, np.float32) for _ in range(3))
    found = FeatureTable(tuple(sample.hash for sample in samples), vectors, *columns)
    return LabelSet(identity(refs), entries, found, "bench", {})


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a piece of work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
