"""A table of scores that somebody else computed → Great Expectations → a label set version in S3."""

from pathlib import Path

from prefect import flow

from flows.context import load_place
from flows.label import keep, report, validate
from flows.steps import step
from influcoder.labelsets import LabelSet
from influcoder.labelsets.build import decoder_for, read_corpora
from influcoder.labelsets.imported import import_scores as imported
from influcoder.labelsets.imported import read_scores
from influcoder.settings.tree import Settings


@flow(name="import-scores", log_prints=True)
def import_scores(
    table: str,
    origin: str = "",
    spot: bool = False,
    decoder: str | None = None,
    corpus: str | None = None,
    second_opinion: str | None = None,
) -> str:
    """Publish imported scores as a label set and return its id.

    Args:
        table: a .parquet, .csv or .jsonl file with the columns query, candidate and score.
        origin: what computed the scores, such as `bergson 2.5.1`.
        spot: whether they are spot labels for a check, rather than labels to train from.
        decoder: the decoder that they speak for; from the settings unless given.
        corpus: the pool that the candidates are from; from the settings unless given.
        second_opinion: a table of another run of the same method, under other seeds; it gives the scores' ceiling.
    """
    place = load_place(decoder=decoder, corpus=corpus)
    other = Path(second_opinion) if second_opinion else None
    label_set = read(place.settings, Path(table), origin, "spot" if spot else "training", other)
    validation = validate(place, label_set)
    manifest = keep(place.store, label_set, validation)
    report(place.store, manifest, validation)
    print(manifest.worth)
    return manifest.id


@step("read scores")
def read(settings: Settings, table: Path, origin: str, kind: str, second_opinion: Path | None) -> LabelSet:
    """Match the scores with their samples, under the decoder as it is now."""
    file, corpora = read_scores(table), read_corpora(settings)
    second = read_scores(second_opinion) if second_opinion else None
    decoder = decoder_for(settings, settings.teacher)
    return imported(file, *corpora, {"fingerprint": decoder.fingerprint, "uri": decoder.uri}, origin, kind, second)
