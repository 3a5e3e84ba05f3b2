"""What the engine may take: memory that does not grow with the samples, and a disk that can be full."""

import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from influcoder.influence.features import vectors
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.teacher import Teacher
from influcoder.labelsets import load_label_set, publish
from influcoder.labelsets.labelset import assemble
from influcoder.labelsets.plan import Entry, Plan
from influcoder.samples import read_corpus
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

WIDE = TeacherSpec(rank=4, projection_dim=16384, max_tokens=32, storage="float32")
ROW_BYTES = WIDE.projection_dim * 4


@pytest.fixture
def place(stack, request):
    """Settings of a store that no other test writes to."""
    return load_settings().store.model_copy(update={"prefix": f"limits/{request.node.name}"})


def peak(place, decoder, samples, monkeypatch):
    """Most bytes that Python and numpy held at once while samples were labelled, scored, published and read."""
    monkeypatch.setattr(vectors, "_CHUNK_NUMBERS", 8 * WIDE.projection_dim)
    monkeypatch.setattr(sys.modules[publish.__module__], "_FILE_BYTES", 8 * ROW_BYTES)
    store = ObjectStore(place.model_copy(update={"prefix": f"{place.prefix}/{len(samples)}"}))
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=WIDE)
    roles = ["query"] * 4 + ["candidate"] * (len(samples) - 4)
    entries = tuple(Entry(sample, role, "train") for sample, role in zip(samples, roles, strict=True))
    plan = Plan("training", entries, (("pool", "0"),))
    tracemalloc.start()
    try:
        cache = FeatureCache(store, teacher.features_id)
        labelled = label_samples(decoder, teacher, samples, cache, Effort(Batching(256, 1), 8))
        labels = assemble(plan, teacher, decoder.uri, labelled)
        publish(store, labels, {})
        read = load_label_set(store, labels.id)
        np.testing.assert_array_equal(read.block("train").labels, labels.block("train").labels)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_samples(place, tiny_decoder, corpus_file, monkeypatch):
    samples = read_corpus(str(corpus_file)).samples
    few, many = (peak(place, tiny_decoder, samples[:count], monkeypatch) for count in (64, 256))
    assert few > 8 * ROW_BYTES
    assert many - few < 0.25 * (256 - 64) * ROW_BYTES


FULL_DISK = """
set -e
mount -t tmpfs -o size=1m tmpfs "$1"
TMPDIR="$1" exec "$2" -c "$3" "$4" "$5"
"""

LABEL_ALL = """
import sys
from influcoder.cli import app as cli
from influcoder.decoder.load import load_decoder
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.teacher import Teacher
from influcoder.settings.teacher import TeacherSpec
from influcoder.samples import read_corpus
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

def label():
    settings = load_settings()
    decoder = load_decoder(settings.decoder)
    spec = TeacherSpec.model_validate_json(sys.argv[1])
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=spec)
    store = ObjectStore(settings.store.model_copy(update={"prefix": sys.argv[2]}))
    cache = FeatureCache(store, teacher.features_id)
    label_samples(decoder, teacher, read_corpus(settings.corpus).samples[:40], cache, Effort(Batching(256, 1), 8))

cli.app = label
cli.main()
"""


def may_mount():
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return tried.returncode == 0


@pytest.mark.skipif(shutil.which("unshare") is None or not may_mount(), reason="no small file system can be mounted")
def test_a_full_disk_is_one_line_and_loses_nothing(place, tiny_decoder, corpus_file, tmp_path):
    command = ["unshare", "-rm", "sh", "-c", FULL_DISK, "sh", tmp_path, sys.executable, LABEL_ALL]
    done = subprocess.run([*command, WIDE.model_dump_json(), place.prefix], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: the disk is full")
    assert "Traceback" not in done.stderr
    store, teacher = ObjectStore(place), Teacher(decoder_fingerprint=tiny_decoder.fingerprint, spec=WIDE)
    cache = FeatureCache(store, teacher.features_id)
    kept = len(cache.known())
    samples = read_corpus(str(corpus_file)).samples[:40]
    again = label_samples(tiny_decoder, teacher, samples, cache, Effort(Batching(256, 1), 8))
    assert 0 < kept < len(samples)
    assert again.computed == len(samples) - kept
