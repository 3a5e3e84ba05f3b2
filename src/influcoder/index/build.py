"""An encoder version's index of a corpus: found where there is one, built or brought up to date otherwise."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from influcoder.core.files import FILES, files_hash, workspace
from influcoder.index.corpus_files import write_corpus_files
from influcoder.index.manifest import Embedder, Identity, Manifest, Origin, load_manifest, move_pointer, pointer_of
from influcoder.index.publish import is_published, publish
from influcoder.index.reader import Index
from influcoder.index.vectors import VectorCache, embed
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import Registry
from influcoder.samples.stamps import corpus_stamp
from influcoder.storage.objects import Objects

if TYPE_CHECKING:
    from influcoder.encoder import Encoder


@dataclass(frozen=True)
class Built:
    """What a build did.

    Args:
        manifest: of the index that answers now.
        embedded: samples that were embedded for it, rather than found.
    """

    manifest: Manifest
    embedded: int


def embedder_of(registry: Registry, version: EncoderVersion, encoder: "Encoder") -> Embedder:
    """What decides about the vectors of an encoder version that is opened.

    Args:
        registry: holds the version.
        version: which.
        encoder: the same, opened.
    """
    files = version.tags.get(FILES)
    if files is None:
        with tempfile.TemporaryDirectory() as folder:
            files = files_hash(registry.download(version, Path(folder)))
    return Embedder(
        files=files,
        max_tokens=None if encoder.in_closed_form else int(encoder.model.max_seq_length),
    )


def build(store: Objects, version: EncoderVersion, encoder: "Encoder", embedder: Embedder, corpus: str) -> Built:
    """Bring the index of a corpus up to date, and make it the one that answers for this encoder.

    What was embedded before, for this or for any other index of the encoder, is not embedded again; a build that was
    killed goes on where it was.

    Args:
        store: where the index goes.
        version: the encoder version.
        encoder: the same, opened.
        embedder: see `embedder_of`.
        corpus: URI of the pool, see `read_corpus`.
    Raises:
        SampleError: the corpus can't be read.
        EncoderError: a vector is not finite.
    """
    # Taken before, so that a corpus that is written to meanwhile is found changed.
    stamp = corpus_stamp(corpus)
    with workspace() as folder:
        pool = write_corpus_files(corpus, folder)
        identity = Identity(embedder=embedder, corpus=pool.seen.digest(), names=pool.seen.names_digest())
        if is_published(store, identity):
            built = Built(load_manifest(store, identity.id), 0)
        else:
            found = embed(pool, encoder, VectorCache(store, embedder), folder / "vectors")
            manifest = publish(store, identity, _origin(version), pool, found.vectors, folder)
            built = Built(manifest, found.computed)
    move_pointer(store, embedder, corpus, built.manifest.id, stamp)
    return built


def current(store: Objects, embedder: Embedder, corpus: str) -> Manifest | None:
    """The index that is as new as its corpus, by the cheap sign of that; None where a build has something to do."""
    pointer, stamp = pointer_of(store, embedder, corpus), corpus_stamp(corpus)
    return load_manifest(store, pointer.index) if pointer and stamp and pointer.stamp == stamp else None


def up_to_date(
    store: Objects, version: EncoderVersion, encoder: "Encoder", embedder: Embedder, corpus: str, again: bool = False
) -> Built:
    """The index of a corpus as it is now; nothing is read where it looks unchanged, unless it is to be read again."""
    known = None if again else current(store, embedder, corpus)
    return Built(known, 0) if known else build(store, version, encoder, embedder, corpus)


def opened_index(
    store: Objects, version: EncoderVersion, encoder: "Encoder", embedder: Embedder, corpus: str
) -> tuple[Index, str]:
    """The index that answers for an encoder and a corpus, built where there is none.

    Returns:
        the index, and what a reader has to know of it; empty where there is nothing.
    """
    found = published_index(store, embedder, corpus)
    return found or (Index(store, build(store, version, encoder, embedder, corpus).manifest), "")


def published_index(store: Objects, embedder: Embedder, corpus: str) -> tuple[Index, str] | None:
    """The same where one is published; None where there is none."""
    pointer = pointer_of(store, embedder, corpus)
    if pointer is None:
        return None
    index, stamp = Index.open(store, pointer.index), corpus_stamp(corpus)
    if stamp is None or pointer.stamp in (None, stamp):
        return index, ""
    return index, f"{corpus} was changed after index {pointer.index} was made of it: run influcoder index."


def _origin(version: EncoderVersion) -> Origin:
    return Origin(
        encoder_version=version.version,
        label_set=version.label_set_id,
        decoder=version.decoder_fingerprint,
        teacher=version.tags.get("teacher.id", ""),
    )
