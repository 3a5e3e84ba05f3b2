"""A corpus → vectors of an encoder version → an index version in S3, which answers for both from then on."""

import tempfile
from pathlib import Path

from prefect import flow

from flows.steps import show, step
from influcoder.index import Manifest
from influcoder.index.build import Built, embedder_of, up_to_date
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.registry.open_encoder import open_encoder
from influcoder.serving.package import package
from influcoder.settings.tree import Settings, load_settings
from influcoder.storage.object_store import ObjectStore


@flow(name="index", log_prints=True)
def index(
    corpus: str | None = None,
    encoder: str = CHAMPION,
    again: bool = False,
    packaged: bool = False,
) -> str:
    """Bring the index of a corpus up to date and return its id; empty where there is no champion yet.

    Args:
        corpus: the pool of samples; from the settings unless given.
        encoder: alias or number of the version to embed with.
        again: read the corpus even where it looks unchanged (size and time of files, revision of a data set).
        packaged: register encoder and index as one MLflow model that attributes; one that is there stays.
    """
    settings = load_settings(corpus=corpus)
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    version = registry.find(CHAMPION) if encoder == CHAMPION else registry.version(encoder)
    if version is None:
        print("there is no champion yet, so there is nothing to embed with")
        return ""
    built = work(settings, store, registry, version, again)
    report(store, version, built)
    if packaged:
        print(f"{pack(registry, store, version, built.manifest)} answers embed, score and attribute")
    return built.manifest.id


@step("embed and publish")
def work(settings: Settings, store: ObjectStore, registry: Registry, version: EncoderVersion, again: bool) -> Built:
    """Embed what is new and publish; a run that was killed goes on where it was."""
    with tempfile.TemporaryDirectory() as folder:
        encoder = open_encoder(registry, version, Path(folder), settings)
        embedder = embedder_of(registry, version, encoder)
        return up_to_date(store, version, encoder, embedder, settings.corpus, again)


pack = step("register encoder and index as one model")(package)


def report(store: ObjectStore, version: EncoderVersion, built: Built) -> None:
    """Show what answers now."""
    found = built.manifest
    print(f"index {found.id}: {found.rows} samples of {found.corpus_uri}, {built.embedded} of them embedded now")
    summary = (
        f"# Index `{found.id}`\n\nEncoder version {version.version}, decoder `{found.origin.decoder[:16]}`, labels "
        f"`{found.origin.label_set}`; {store.uri(f'indexes/{found.id}/manifest.json')}.\n"
    )
    show("index", summary, [figures(found) | {"embedded now": built.embedded}], {})


def figures(found: Manifest) -> dict[str, int | float | str]:
    """What there is to say of an index in a row."""
    return {
        "corpus": found.corpus_uri,
        "samples": found.rows,
        "left out as duplicates": found.duplicates,
        "dimensions": found.dimensions,
        "bytes a sample": round(found.bytes / found.rows),
        "recall at 100": found.recall,
        "created": found.created,
    }
