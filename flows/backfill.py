"""Past encoders on newer spot labels that are in the store already, and the history chart from the store alone."""

from datetime import datetime
from itertools import groupby

from prefect import flow

from flows.context import Place, load_place
from flows.steps import show, step
from influcoder.core.errors import SettingsError
from influcoder.core.progress import progress
from influcoder.core.tags import LABEL_SET
from influcoder.labelsets import load_label_set
from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.open_encoder import open_encoder
from monitoring.checks.backfill import backfills, missing, save
from monitoring.checks.record import checks, facts, measure
from monitoring.reports.dashboard import rebuild
from monitoring.reports.report import recorded_report, values_of


@flow(name="backfill", log_prints=True)
def backfill(version: str | None = None, chart: bool = False) -> int:
    """Measure past encoders on spot labels that are newer than they are; how many measurements are new.

    No label is bought. What was measured is kept at once, so a run that is killed goes on where it was.

    Args:
        version: alias or number of one version; all of them unless given.
        chart: whether the Evidently UI's projects are made anew, from the records in the store.
    """
    place = load_place()
    registry = place.registry
    versions = [registry.version(version)] if version else registry.versions()
    count = sum(score(place, found) for found in versions if LABEL_SET in found.tags)
    if chart:
        draw(place)
    rows = [
        record.model_dump(include={"encoder_version", "spot_label_set"}) | record.figures["rho"]
        for record in backfills(place.store, registry.model)
    ]
    show("backfill", f"# {count} new measurements of past encoders", rows, {})
    return count


@step("measure a past encoder")
def score(place: Place, version: EncoderVersion) -> int:
    """Measure a version on each label set that it was not measured on yet."""
    store, registry = place.store, place.registry
    own = load_manifest(store, version.label_set_id)
    todo = list(missing(store, registry.model, version, own.identity.teacher.spec, own.created, checks(store)))
    if not todo:
        return 0
    encoder = open_encoder(registry, version, place.settings)
    with progress(f"version {version.version}", len(todo)) as ticker:
        for manifest in todo:
            found = measure(encoder, load_label_set(store, manifest.id).evidence("report"))
            save(store, registry.model, version, manifest, found)
            ticker.advance(1)
    return len(todo)


@step("rebuild the history chart")
def draw(place: Place) -> tuple[int, int]:
    """Every check, and every backfill, as a report of its time.

    Raises:
        SettingsError: there is no Evidently UI.
    """
    settings, store = place.settings, place.store
    if not settings.evidently_url:
        raise SettingsError("there is no chart to rebuild.", "Set evidently_url to the address of the Evidently UI.")
    known = [
        recorded_report(
            values_of(check.figures, check.bounds, facts(check, settings.drift.alpha)),
            datetime.fromisoformat(check.created),
            {"encoder": check.encoder_version, "decoder": check.decoder[:16], "verdict": str(check.verdict)},
        )
        for check in checks(store)
    ]
    past = {
        number: [
            recorded_report(
                values_of(r.figures),
                datetime.fromisoformat(r.labelled),
                {"encoder": number, "backfill": "yes"},
                encoder=number,
            )
            for r in group
        ]
        for number, group in groupby(
            backfills(place.store, place.registry.model), key=lambda record: record.encoder_version
        )
    }
    counts = rebuild(settings.evidently_url, known, past, settings.reports.keep)
    print(f"the chart shows {counts[0]} checks, and {counts[1]} measurements of past encoders")
    return counts
