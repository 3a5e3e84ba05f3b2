"""Label sets in the store: all objects first, the manifest last and only once, the pointer by swap."""

import io
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from safetensors.numpy import load, save

from influcoder.core.errors import IntegrityError
from influcoder.core.provenance import code_commit, now
from influcoder.influence.features.cache import FeatureTable, Gathering
from influcoder.influence.teachers.pair_scores import PairScores
from influcoder.labelsets.labelset import LabelSet
from influcoder.labelsets.manifest import (
    FileRef,
    Manifest,
    folder_of,
    library_versions,
    load_manifest,
    move_latest,
)
from influcoder.labelsets.plan import Entry
from influcoder.samples import Sample
from influcoder.storage.object_store import ObjectStore, sha256
from influcoder.storage.records import to_json

SAMPLES, SCORES, FEATURES = "samples.parquet", "scores.parquet", "features"
_FILE_BYTES = 32 * 2**20


def publish(store: ObjectStore, label_set: LabelSet, docs: Mapping[str, bytes]) -> Manifest:
    """Publish a label set; one that is published already is left as it is.

    Args:
        store: where to.
        label_set: validated labels.
        docs: the pages of the validation's Data Docs, by their relative path.
    Returns:
        the manifest that is in the store now.
    """
    folder = folder_of(label_set.id)
    if not store.exists(f"{folder}/manifest.json"):
        files = dict(_write(store, folder, label_set))
        keep_docs(store, folder, docs)
        manifest = Manifest(
            identity=label_set.identity,
            decoder_uri=label_set.decoder_uri,
            files=files,
            quarantined=label_set.quarantined,
            asked=label_set.asked,
            cut_share=None if label_set.features is None else float(label_set.features.cuts.mean()),
            reliability=label_set.reliability,
            code_commit=code_commit(),
            libraries=library_versions(),
            created=now(),
        )
        # Where another run published the same label set meanwhile, its bytes are the ones that count.
        store.keep(f"{folder}/manifest.json", to_json(manifest))
    if label_set.identity.kind == "training":
        move_latest(store, label_set.id)
    return load_manifest(store, label_set.id)


def load_label_set(store: ObjectStore, label_set_id: str) -> LabelSet:
    """A published label set, the checksum of all that it is read from verified.

    Raises:
        IntegrityError: something is missing, cut off or changed.
    """
    manifest = load_manifest(store, label_set_id)
    frame = pd.read_parquet(io.BytesIO(_read(store, manifest, SAMPLES)))
    entries = tuple(_entry(row) for row in frame.to_dict("records"))
    if [(e.sample.hash, e.role, e.split) for e in entries] != [
        (ref.hash, ref.role, ref.split) for ref in manifest.identity.samples
    ]:
        raise IntegrityError(
            f"label set {label_set_id}: its texts are not the ones its manifest names.", "Restore it from a backup."
        )
    pairwise = manifest.identity.teacher.spec.pairwise
    return LabelSet(
        manifest.identity,
        entries,
        None if pairwise else _features(store, manifest, frame),
        manifest.decoder_uri,
        manifest.quarantined,
        manifest.reliability,
        _scores(store, manifest) if pairwise else None,
    )


def _features(store: ObjectStore, manifest: Manifest, frame: pd.DataFrame) -> FeatureTable:
    hashes = tuple(frame["hash"])
    columns = [frame[name].to_numpy(np.float32) for name in ("norm", "loss", "cut")]
    gathering, start = Gathering(hashes), 0
    for name in sorted(name for name in manifest.files if name.startswith(FEATURES)):
        vectors = load(_read(store, manifest, name))["vectors"]
        part = slice(start, start + len(vectors))
        gathering.add(FeatureTable(hashes[part], vectors, *(column[part] for column in columns)))
        start += len(vectors)
    return gathering.table()


def _scores(store: ObjectStore, manifest: Manifest) -> PairScores:
    frame = pd.read_parquet(io.BytesIO(_read(store, manifest, SCORES)))
    return PairScores.of(list(frame["query"]), list(frame["candidate"]), frame["score"].to_numpy())


def keep_docs(store: ObjectStore, folder: str, docs: Mapping[str, bytes]) -> None:
    """Write the Data Docs of a validation below a folder."""
    for path, page in docs.items():
        store.put(f"{folder}/data_docs/{path}", page, _content_type(path))


def docs_links(store: ObjectStore, label_set_id: str, refused: bool = False) -> dict[str, str]:
    """Signed URLs of the Data Docs of each validated table; their index is no page to link, since a signature opens
    one object alone."""
    folder = f"{refused_folder(label_set_id) if refused else folder_of(label_set_id)}/data_docs/validations/"
    pages = [key for key in store.keys(folder) if key.endswith(".html")]
    return {f"Data Docs, {key.removeprefix(folder).split('/')[0]}": store.link(key) for key in pages}


def refused_folder(label_set_id: str) -> str:
    """Where the Data Docs of a label set are kept that was not published."""
    return f"refused/{label_set_id}"


def _write(store: ObjectStore, folder: str, label_set: LabelSet) -> Iterator[tuple[str, FileRef]]:
    for name, data in _contents(label_set):
        # Two runs may label the same samples with other last bits; neither may write under the other's name.
        store.put(f"{folder}/{sha256(data)}/{name}", data)
        yield name, FileRef(sha256=sha256(data), bytes=len(data))


def _contents(label_set: LabelSet) -> Iterator[tuple[str, bytes]]:
    yield SAMPLES, _parquet(label_set.samples)
    yield SCORES, _parquet(label_set.pairs)
    if label_set.features is None:
        return
    vectors = label_set.features.vectors
    size = max(1, _FILE_BYTES // max(1, vectors.shape[1] * vectors.dtype.itemsize))
    for number, start in enumerate(range(0, len(vectors), size)):
        yield f"{FEATURES}-{number:06d}.safetensors", save({"vectors": vectors[start : start + size]})


def _read(store: ObjectStore, manifest: Manifest, name: str) -> bytes:
    reference = manifest.files[name]
    data = store.get(f"{folder_of(manifest.id)}/{reference.sha256}/{name}")
    if len(data) != reference.bytes or sha256(data) != reference.sha256:
        raise IntegrityError(
            f"label set {manifest.id}: {name} does not match its checksum.",
            "Restore it, or label again: the features are cached.",
        )
    return data


def _entry(row: Mapping[str, str]) -> Entry:
    sample = Sample(row["id"], row["context"], row["target"], row["text"], row["source"])
    return Entry(sample, row["role"], row["split"])


def _parquet(frame: pd.DataFrame) -> bytes:
    return bytes(frame.to_parquet(index=False, compression="zstd"))


def _content_type(path: str) -> str:
    kinds = {".html": "text/html", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml"}
    return next((kind for ending, kind in kinds.items() if path.endswith(ending)), "application/octet-stream")


# More than a closed form learns from at once.
MOST_SAMPLES = 6000


def line(store: ObjectStore, label_set: str | None) -> Iterator[Manifest]:
    """A label set and all that it continues, the latest first.

    Raises:
        IntegrityError: one of them is not there, or is damaged.
    """
    while label_set:
        manifest = load_manifest(store, label_set)
        yield manifest
        label_set = manifest.identity.parent


def parents(store: ObjectStore, labels: LabelSet) -> Iterator[LabelSet]:
    """The label sets that this one continues, the latest first, as far as they are of the same teacher.

    Raises:
        IntegrityError: one of them is not there, or is damaged.
    """
    seen = len(labels.entries)
    for manifest in line(store, labels.identity.parent):
        if seen >= MOST_SAMPLES or manifest.identity.teacher != labels.identity.teacher:
            return
        yield load_label_set(store, manifest.id)
        seen += len(manifest.identity.samples)
