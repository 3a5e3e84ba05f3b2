"""An encoder version's index of a corpus: found where there is one, built or brought up to date otherwise."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from influcoder.core.files import workspace
from influcoder.index.corpus_files import write_corpus_files
from influcoder.index.manifest import Embedder, Identity, Manifest, Origin, load_manifest, move_pointer, pointer_of
from influcoder.index.publish import is_published, publish
from influcoder.index.reader import Index
from influcoder.index.vectors import VectorCache, embed
from influcoder.registry.encoder_version import EncoderVersion
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


def build(store: Objects, version: EncoderVersion, encoder: "Encoder", embedder: Embedder, corpus: str) -> Built:
    """Bring the index of a corpus up to date, and make it the one that answers for this encoder.

    What was embedded before, for this or for any other index of the encoder, is not embedded again; a build that was
    killed goes on where it was.

    Args:
        store: where the index goes.
        version: the encoder version.
        encoder: the same, opened.
        embedder: what decides about its vectors.
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


def published_index(store: Objects, embedder: Embedder, corpus: str) -> tuple[Index, str] | None:
    """The index that answers for an encoder and a corpus.

    Returns:
        the index, and a sentence where its corpus was changed since, else an empty one; None where there is none.
    """
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
        teacher=version.teacher_id,
    )
