"""Fresh spot labels → agreement of the champion → Evidently report → decision → event."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import flow
from prefect.events import emit_event
from prefect.runtime import flow_run

from flows.alert import notify
from flows.cause import cause_if_fell
from flows.context import Place, load_place
from flows.label import keep, validate
from flows.steps import show, step
from influcoder.core.errors import InflucoderError, ServiceError, ValidationFailedError
from influcoder.core.provenance import now
from influcoder.encoder import Encoder
from influcoder.labelsets import LabelSet, load_label_set
from influcoder.labelsets.build import same_teacher
from influcoder.labelsets.manifest import load_manifest
from influcoder.labelsets.publish import docs_links
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import CHAMPION
from influcoder.samples.query_log import expire
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.compose import drift
from monitoring.causes.explain import probe_side, shift_of
from monitoring.checks.baselines import UNTRAINED, bounds_of, measure_floor
from monitoring.checks.buying import Ledger
from monitoring.checks.decision import with_probe
from monitoring.checks.findings import Shift, Verdict
from monitoring.checks.history import Draw, OpenDraw, observations_before
from monitoring.checks.measure import Examination
from monitoring.checks.record import (
    Check,
    checks,
    event_payload,
    expire_reports,
    facts,
    figures,
    headline,
    report_link,
    save_check,
)
from monitoring.checks.sequential_test import Observation
from monitoring.checks.spot_labels import buy_labels
from monitoring.reports.dashboard import send
from monitoring.reports.report import RenderedReport, agreement_report, values_of

DRIFT_EVENT = "influcoder.drift"


@flow(name="check", log_prints=True)
def check(
    encoder: str = CHAMPION, decoder: str | None = None, corpus: str | None = None, spot: str | None = None
) -> str:
    """Compare an encoder with fresh exact influence, keep the record and return its id.

    Args:
        encoder: alias or number of the version to check.
        decoder: the decoder in use now; from the settings unless given.
        corpus: what the encoder is used on now; from the settings unless given.
        spot: id of spot labels that are published already, such as imported ones; fresh ones are bought unless given.
    """
    place = load_place(decoder=decoder, corpus=corpus)
    store, version = place.store, place.registry.version(encoder)
    expire(store, place.settings.asked)
    earlier = checks(store)
    expire_reports(store, earlier, place.settings.reports.keep_days)
    kept = examine(place, version, earlier, spot) if spot else on_a_draw(place, version, earlier)
    if kept.verdict is Verdict.DRIFT:
        notify(place, drift(kept, links_of(store, version, kept)))
        resource = {"prefect.resource.id": f"influcoder.encoder.{version.version}"}
        emit_event(DRIFT_EVENT, resource=resource, payload=event_payload(kept))
    cause_if_fell(place, kept)
    return kept.id


def on_a_draw(place: Place, version: EncoderVersion, earlier: Sequence[Check]) -> Check:
    """Check on a fresh draw, or on the one of a check that was killed; a check that it recorded stands."""
    draw = OpenDraw(place.store, place.settings, version.version)
    seed = draw.seed(_fresh_seed())
    recorded = [found for found in earlier if found.was_drawn(version.version, seed)]
    try:
        kept = recorded[-1] if recorded else examine(place, version, earlier, seed)
    except ValidationFailedError:
        # The same samples would be refused again.
        draw.close(seed)
        raise
    draw.close(seed)
    return kept


def examine(place: Place, version: EncoderVersion, earlier: Sequence[Check], source: str | int) -> Check:
    """Hold a version against labels that are published already (their id) or are bought now (the seed of the draw)."""
    store, spec = place.store, load_manifest(place.store, version.label_set_id).identity.teacher.spec
    examination = Examination.of(place.settings, place.registry, version)

    def looks(labels: LabelSet) -> list[Observation]:
        return observations_before(store, earlier, version, Draw.of(store, labels, source))

    if isinstance(source, str):
        labels, spent = load_spot(store, source, spec), None
    else:
        labels, spent = label_spot(place, spec, source, lambda bought: examination.is_clear(bought, looks(bought)))
    bought: dict[str, Any] = {"draw": Draw.of(store, labels, source).name, "spent": spent}
    moved = labels.identity.teacher.decoder_fingerprint != version.decoder_fingerprint
    bought["probe"] = label_probe(place, examination.encoder, version, labels) if moved else None
    record, rendered = compare(place.settings, version, examination, labels, looks(labels), bought)
    kept = save_check(store, record, rendered.html, rendered.json)
    report(place, version, kept, rendered)
    return kept


@step("buy spot labels")
def label_spot(
    place: Place, spec: TeacherSpec, seed: int, is_clear: Callable[[LabelSet], bool]
) -> tuple[LabelSet, Ledger]:
    """Label a fresh draw that grows until the decision is clear, and publish it."""
    labels, spent = buy_labels(place.settings, spec, place.store, seed, is_clear)
    keep(place.store, labels, validate(place, labels))
    print(f"spot labels: {spent}")
    return labels, spent


@step("label the probe again")
def label_probe(place: Place, encoder: Encoder, version: EncoderVersion, spot: LabelSet) -> Shift | None:
    """What the decoder in use did to agreement on samples that stay the same; a check stands without it."""
    try:
        old = load_label_set(place.store, version.label_set_id)
        side = probe_side(place.settings, place.store, encoder, old, spot)
    except InflucoderError as error:
        print(f"the probe could not be labelled: {error}")
        return None
    found = shift_of(side)
    print(f"{found}" if found else f"the probe could not be labelled, since the decoder in use can't: {side.said}")
    return found


@step("load spot labels")
def load_spot(store: ObjectStore, spot: str, spec: TeacherSpec) -> LabelSet:
    """Read spot labels that are there, of the kind that the encoder was distilled from."""
    return same_teacher(load_label_set(store, spot), spec)


@step("compare with exact influence")
def compare(
    settings: Settings,
    version: EncoderVersion,
    examination: Examination,
    spot: LabelSet,
    before: Sequence[Observation],
    bought: Mapping[str, Any],
) -> tuple[Check, RenderedReport]:
    """Measure the encoder and the untrained one, decide from all checks of it, and render the report."""
    measured, created, margin = examination.measure(spot), now(), settings.drift.margin
    floor = measure_floor(Encoder(settings.encoder.base, settings.encoder.max_tokens), measured.block)
    bounds = bounds_of(measured.found, floor, spot.reliability)
    record = Check(
        encoder_version=version.version,
        encoder_decoder=version.decoder_fingerprint,
        decoder=spot.identity.teacher.decoder_fingerprint,
        decoder_uri=spot.decoder_uri,
        corpus_uri=settings.corpus,
        spot_label_set=spot.id,
        figures=figures(measured.found),
        untrained=figures(floor.found[UNTRAINED]),
        bounds=bounds,
        judgement=with_probe(examination.judge(measured.found, before, created), bought["probe"], margin),
        created=created,
        candidates=measured.found.candidates,
        **bought,
    )
    least = examination.promoted.mean - margin
    about = {"encoder": version.version, "decoder": record.decoder[:16], "verdict": str(record.verdict)}
    values = values_of(record.figures, bounds, facts(record, settings.drift.alpha))
    promoted = values_of(examination.evidence.figures["encoder"])
    return record, agreement_report(values, promoted, bounds.floor, least, about)


def report(place: Place, version: EncoderVersion, kept: Check, rendered: RenderedReport) -> None:
    """Show the decision; the Evidently UI may be away, the record in the store is what counts."""
    settings, links = place.settings, links_of(place.store, version, kept)
    if settings.evidently_url:
        try:
            links["Evidently dashboard"] = send(settings.evidently_url, rendered.snapshot, settings.reports.keep)
        except ServiceError as error:
            links["Evidently UI is away"] = settings.evidently_url
            print(error)
    moved = "**The decoder is not the one that the encoder was distilled for.**" if kept.decoder_moved else ""
    bought = "" if kept.spent is None else f"Spot labels: {kept.spent}."
    summary = f"# Encoder {kept.encoder_version}: {kept.verdict}\n\n{headline(version, kept)}.\n\n{bought}\n\n{moved}"
    rows = kept.bounds.rows(f"encoder version {version.version}", kept.figures["rho"]) if kept.bounds else []
    rows += kept.probe.rows() if kept.probe else []
    show("check", summary, rows, links)
    print(headline(version, kept))


def links_of(store: ObjectStore, version: EncoderVersion, kept: Check) -> dict[str, str]:
    """Where to read more about a check."""
    links = {"Evidently report": report_link(store, kept), "MLflow version": version.url}
    return links | docs_links(store, kept.spot_label_set)


def _fresh_seed() -> int:
    """A draw of its own for each run; a run that is tried again draws the same."""
    return int(str(flow_run.id).replace("-", "")[:8], 16) if flow_run.id else time.time_ns() % 2**32
