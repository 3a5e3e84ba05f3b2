"""A corpus → vectors of an encoder version → an index version in S3, which answers for both from then on."""

from prefect import flow

from flows.context import load_place
from flows.steps import show, step
from influcoder.index import Manifest
from influcoder.index.build import Built
from influcoder.registry.mlflow_registry import CHAMPION
from influcoder.serving.champion import ServedChampion
from influcoder.serving.package import package


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
    place = load_place(corpus=corpus)
    if encoder == CHAMPION and place.registry.find(CHAMPION) is None:
        print("there is no champion yet, so there is nothing to embed with")
        return ""
    champion = ServedChampion(place.settings, encoder)
    built = update(champion, again)
    report(champion, built)
    if packaged:
        print(f"{pack(champion)} answers embed, score and attribute")
    return built.manifest.id


@step("embed and publish")
def update(champion: ServedChampion, again: bool) -> Built:
    """Embed what is new and publish; a run that was killed goes on where it was."""
    return champion.update_index(again)


pack = step("register encoder and index as one model")(package)


def report(champion: ServedChampion, built: Built) -> None:
    """Show what answers now."""
    found = built.manifest
    print(f"index {found.id}: {found.rows} samples of {found.corpus_uri}, {built.embedded} of them embedded now")
    summary = (
        f"# Index `{found.id}`\n\nEncoder version {champion.version.version}, decoder `{found.origin.decoder[:16]}`, "
        f"labels `{found.origin.label_set}`; {champion.store.uri(f'indexes/{found.id}/manifest.json')}.\n"
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
