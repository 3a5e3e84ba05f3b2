"""The champion's index and some queries → the regions of the pool that drive them, as an MLflow run with its map."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from prefect import flow

from flows.steps import show, step
from influcoder.attribution.regions import Scope, Survey, survey, write_survey
from influcoder.attribution.regions.survey import By, drawn
from influcoder.core.errors import SettingsError
from influcoder.core.files import refuse_taken, whole_folder
from influcoder.samples import Sample, read_corpus
from influcoder.serving.champion import ServedChampion
from influcoder.settings.tree import Settings, load_settings

# More queries sharpen no share that is a mean over them.
MOST_QUERIES = 500
UNNAMED = "(no source)"


@flow(name="regions", log_prints=True)
def regions(
    queries: str | None = None,
    corpus: str | None = None,
    out: str | None = None,
    by: By = "auto",
    count: int = 20,
    points: int = 20_000,
    draw_map: bool = True,
    decoder: str | None = None,
) -> dict[str, Any]:
    """Survey a pool, log what was found to MLflow, and return what stands behind it.

    Args:
        queries: what is asked about; from the settings unless given.
        corpus: the pool; from the settings unless given.
        out: a folder to make, which gets the same files.
        by: `source`, `cluster`, or `auto`: sources where the pool names two or more.
        count: regions, at most.
        points: samples on the map and in the search for near-duplicates, at most.
        draw_map: whether to draw the map.
        decoder: the decoder in use; from the settings unless given.
    Raises:
        SettingsError: no queries are named, or the folder is there already.
        SampleError: the pool can't be divided so.
    """
    settings = load_settings(decoder=decoder, corpus=corpus, queries=queries)
    if out:
        refuse_taken(Path(out))
    samples, scope = draw_queries(settings), Scope(by, count, points, draw_map, settings.labels.seed)
    champion = ServedChampion(settings)
    with tempfile.TemporaryDirectory() as pages:
        found = divide(champion, samples, scope)
        behind = facts(champion)
        written = write_survey(found, Path(pages), behind, f"estimated by {champion.provenance}")
        page = log(champion, written)
        if out:
            with whole_folder(Path(out)) as part:
                shutil.copytree(pages, part, dirs_exist_ok=True)
    report(found, behind, page)
    return {**behind, "run": page, "files": [path.name for path in written]}


def draw_queries(settings: Settings) -> list[Sample]:
    """The queries; drawn where there are more than are of use."""
    if not settings.queries:
        raise SettingsError("there is nothing to ask about.", "Give --queries, or set queries in influcoder.toml.")
    samples = read_corpus(settings.queries).samples
    return [samples[row] for row in drawn(len(samples), MOST_QUERIES, settings.labels.seed).tolist()]


@step("survey the pool")
def divide(champion: ServedChampion, queries: list[Sample], scope: Scope) -> Survey:
    """Shares of influence, near-duplicates, and the map."""
    encoder = champion.encoder
    vectors = encoder.embed([encoder.view(sample) for sample in queries])
    return survey(champion.index, vectors, [sample.source or UNNAMED for sample in queries], scope)


def facts(champion: ServedChampion) -> dict[str, Any]:
    """What stands behind the figures, and what a reader has to know first."""
    settings = champion.settings
    inputs = {"corpus": settings.corpus, "asked": settings.queries}
    return {**champion.provenance.record(), **inputs, "warnings": list(champion.warnings())}


def log(champion: ServedChampion, files: list[Path]) -> str:
    """Log the files to a run of their own; its page."""
    registry = champion.registry
    with registry.run("regions", champion.provenance.tags()) as run_id:
        for path in files:
            registry.log_file(path)
    return registry.run_url(run_id)


def report(found: Survey, behind: dict[str, Any], page: str) -> None:
    """Show what drives the queries most."""
    first = found.overall[0]
    lines = [
        f"# {first.region} drives {first.positive.value:.0%} of these answers, with {first.part:.0%} of the samples",
        f"{found.queries} queries, {found.samples} samples in {len(found.regions.names)} regions.",
        *(f"Warning: {warning}" for warning in behind["warnings"]),
    ]
    show("regions", "\n\n".join(lines), rows(found), {"MLflow run": page})


def rows(found: Survey) -> list[dict[str, Any]]:
    """A row for each region."""
    repeats = {item.region: f"{item.repeated} of {item.looked_at}" for item in found.duplicates}
    return [
        {
            "region": share.region,
            "samples": share.samples,
            "share": f"{share.part:.1%}",
            "influence above the mean": _share(share.positive),
            "influence below it": _share(share.negative),
            "standing": share.standing,
            "near-duplicates": repeats.get(share.region, ""),
        }
        for share in found.overall
    ]


def _share(found: Any) -> str:
    return f"{found.value:.1%} ({found.lo:.1%} to {found.hi:.1%})"
