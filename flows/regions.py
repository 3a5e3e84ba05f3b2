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
from influcoder.decoder.load import load_decoder
from influcoder.encoder import Encoder
from influcoder.index import Index
from influcoder.index.build import embedder_of, opened_index
from influcoder.registry.encoder_version import EncoderVersion, agreement_words
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.registry.open_encoder import open_encoder
from influcoder.samples import Sample, read_corpus
from influcoder.serving.warnings import caveats
from influcoder.settings.tree import Settings, load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.loop.decoder_versions import seen_fingerprint

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
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    version, asked = registry.version(CHAMPION), asked_of(settings)
    scope = Scope(by, count, points, draw_map, settings.labels.seed)
    with tempfile.TemporaryDirectory() as files, tempfile.TemporaryDirectory() as pages:
        encoder = open_encoder(registry, version, Path(files), settings)
        index, stale = opened_index(store, version, encoder, embedder_of(registry, version, encoder), settings.corpus)
        found = look(index, encoder, asked, scope)
        behind = facts(settings, store, registry, version, index, stale)
        written = write_survey(found, Path(pages), behind, caption(version, index))
        page = log(registry, version, written)
        if out:
            with whole_folder(Path(out)) as part:
                shutil.copytree(pages, part, dirs_exist_ok=True)
    report(found, behind, page)
    return {**behind, "run": page, "files": [path.name for path in written]}


def asked_of(settings: Settings) -> list[Sample]:
    """The queries; drawn where there are more than are of use."""
    if not settings.queries:
        raise SettingsError("there is nothing to ask about.", "Give --queries, or set queries in influcoder.toml.")
    samples = read_corpus(settings.queries).samples
    return [samples[row] for row in drawn(len(samples), MOST_QUERIES, settings.labels.seed).tolist()]


@step("survey the pool")
def look(index: Index, encoder: Encoder, asked: list[Sample], scope: Scope) -> Survey:
    """Shares of influence, near-duplicates, and the map."""
    vectors = encoder.embed([encoder.view(sample) for sample in asked])
    return survey(index, vectors, [sample.source or UNNAMED for sample in asked], scope)


def facts(
    settings: Settings, store: ObjectStore, registry: Registry, version: EncoderVersion, index: Index, stale: str
) -> dict[str, Any]:
    """What stands behind the figures, and what a reader has to know first."""
    present = seen_fingerprint(store, settings.decoder) or load_decoder(settings.decoder).fingerprint
    said = caveats(store, registry.model, version, settings.decoder, present)
    return {
        "encoder": version.version,
        "label_set": version.label_set_id,
        "decoder": version.decoder_fingerprint,
        "agreement": {name: version.tags.get(f"agreement.{name}") for name in ("rho", "lo", "hi", "floor", "lift")},
        "ceiling": version.tags.get("labels.ceiling"),
        "index": index.manifest.id,
        "corpus": settings.corpus,
        "asked": settings.queries,
        "warnings": [*said, *([stale] if stale else [])],
    }


def caption(version: EncoderVersion, index: Index) -> str:
    """One line that says whose figures these are."""
    return (
        f"estimated by encoder version {version.version}, agreement {agreement_words(version.tags)}; decoder "
        f"{version.decoder_fingerprint[:12]}, index {index.manifest.id[:12]}"
    )


def log(registry: Registry, version: EncoderVersion, files: list[Path]) -> str:
    """Log the files to a run of their own; its page."""
    tags = {"encoder.version": version.version, "decoder.fingerprint": version.decoder_fingerprint}
    with registry.run("regions", tags) as run_id:
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
