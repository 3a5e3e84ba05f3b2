"""Indexes in the store: all objects first, the manifest last and only once."""

from pathlib import Path

from influcoder.core.progress import progress
from influcoder.core.provenance import code_commit, now
from influcoder.index.corpus_files import CorpusFiles
from influcoder.index.download import key_of, part_of
from influcoder.index.manifest import Identity, Manifest, Origin, Part, Segment, folder_of, load_manifest
from influcoder.index.reader import SEGMENT, SHARD
from influcoder.index.search import make_segment, segment_rows
from influcoder.index.vectors import Array
from influcoder.storage.objects import Objects
from influcoder.storage.records import to_json


def publish(
    store: Objects, identity: Identity, origin: Origin, pool: CorpusFiles, vectors: Array, folder: Path
) -> Manifest:
    """Publish an index; one that is published already is left as it is.

    Args:
        store: where to.
        identity: of pool and vectors.
        origin: what the encoder came from.
        pool: the samples.
        vectors: of all of them, shape (rows, dimensions), half precision.
        folder: for files on the way.
    Returns:
        the manifest that is in the store now.
    """
    if not is_published(store, identity):
        manifest = Manifest(
            identity=identity,
            origin=origin,
            corpus_uri=pool.uri,
            rows=pool.rows,
            duplicates=pool.duplicates,
            dimensions=vectors.shape[1],
            segments=_segments(store, identity.id, vectors, folder),
            shards=tuple(
                _put(store, identity.id, part_of(shard.path, shard.first, shard.rows), shard.path, SHARD)
                for shard in pool.shards
            ),
            code_commit=code_commit(),
            created=now(),
        )
        # Where another run published the same index meanwhile, its bytes are the ones that count.
        store.keep(_manifest(identity), to_json(manifest))
    return load_manifest(store, identity.id)


def copy(source: Objects, manifest: Manifest, target: Objects) -> None:
    """Copy an index from one store to another; what is copied is verified by who reads it."""
    folder = folder_of(manifest.id)
    parts = [(part, SEGMENT) for part in manifest.segments] + [(part, SHARD) for part in manifest.shards]
    for part, ending in parts:
        key = key_of(manifest.id, part, ending)
        target.put(key, source.get(key))
    target.keep(f"{folder}/manifest.json", source.get(f"{folder}/manifest.json"))


def is_published(store: Objects, identity: Identity) -> bool:
    """Whether an index of this content is there."""
    return store.exists(_manifest(identity))


def _segments(store: Objects, index_id: str, vectors: Array, folder: Path) -> tuple[Segment, ...]:
    size, found = segment_rows(vectors.shape[1]), []
    with progress("dividing vectors", len(vectors)) as ticker:
        for first in range(0, len(vectors), size):
            part, path = vectors[first : first + size], folder / f"segment{SEGMENT}"
            made = make_segment(part, path)
            kept = _put(store, index_id, part_of(path, first, len(part)), path, SEGMENT)
            found.append(Segment(**kept.model_dump(), **vars(made)))
            path.unlink()
            ticker.advance(len(part))
    return tuple(found)


def _put(store: Objects, index_id: str, part: Part, path: Path, ending: str) -> Part:
    # The store verifies the checksum of what it is sent.
    store.put(key_of(index_id, part, ending), path.read_bytes())
    return part


def _manifest(identity: Identity) -> str:
    return f"{folder_of(identity.id)}/manifest.json"
