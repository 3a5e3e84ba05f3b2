"""Fresh spot labels → agreement of the champion → Evidently report → decision → event."""

import tempfile
import time
from pathlib import Path

from prefect import flow
from prefect.events import emit_event
from prefect.runtime import flow_run

from flows.cause import cause_if_fell
from flows.label import gate, keep
from flows.steps import show, step
from influcoder.agreement import agreement
from influcoder.asked import expire, lately
from influcoder.encoder import Encoder
from influcoder.errors import ServiceError
from influcoder.influence.teacher import TeacherSpec
from influcoder.labelsets import LabelSet, load_label_set, plan_spot
from influcoder.labelsets.build import build_label_set, read_corpora, same_teacher
from influcoder.labelsets.publish import docs_links, load_manifest
from influcoder.provenance import now
from influcoder.registry import CHAMPION, EncoderVersion, Registry
from influcoder.settings import Settings, load_settings
from influcoder.store import ObjectStore
from monitoring.check import Check, event_payload, figures, headline, judge, report_link, save_check
from monitoring.decision import Verdict
from monitoring.floor import UNTRAINED, bounds_of, measure_floor
from monitoring.pairs import pairs_frame
from monitoring.report import RenderedReport, agreement_report, send

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
    settings = load_settings(decoder=decoder, corpus=corpus)
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    version = registry.version(encoder)
    expire(store, settings.asked)
    spec = load_manifest(store, version.label_set_id).identity.teacher.spec
    labels = load_spot(store, spot, spec) if spot else label_spot(settings, spec, store, _fresh_seed())
    record, rendered = compare(settings, registry, version, labels)
    kept = save_check(store, record, rendered.html, rendered.json)
    report(settings, store, version, kept, rendered)
    if kept.verdict is Verdict.DRIFT:
        resource = {"prefect.resource.id": f"influcoder.encoder.{version.version}"}
        emit_event(DRIFT_EVENT, resource=resource, payload=event_payload(kept))
    cause_if_fell(settings, store, registry, kept)
    return kept.id


@step("buy spot labels")
def label_spot(settings: Settings, spec: TeacherSpec, store: ObjectStore, seed: int) -> LabelSet:
    """Label a small fresh draw under the decoder as it is now, and publish it."""
    asked = lately(store, settings.asked)
    corpora, of = read_corpora(settings), settings.labels.seed
    plan = plan_spot(*corpora, settings.labels.spot, seed, spec.curved_on, of, asked, settings.asked)
    labels = build_label_set(settings, spec, plan, store)
    keep(store, labels, gate(labels, settings.labels))
    return labels


@step("load spot labels")
def load_spot(store: ObjectStore, spot: str, spec: TeacherSpec) -> LabelSet:
    """Read spot labels that are there, of the kind that the encoder was distilled from."""
    return same_teacher(load_label_set(store, spot), spec)


@step("compare with exact influence")
def compare(
    settings: Settings, registry: Registry, version: EncoderVersion, spot: LabelSet
) -> tuple[Check, RenderedReport]:
    """Measure the encoder and the untrained one, decide, and render the report."""
    block = spot.evidence("report")
    with tempfile.TemporaryDirectory() as folder:
        encoder = Encoder(str(registry.download(version, Path(folder))), settings.encoder.max_tokens)
        scores = encoder.scores(block.queries, block.candidates)
    found = agreement(scores, block.labels)
    floor = measure_floor(Encoder(settings.encoder.base, settings.encoder.max_tokens), block)
    bounds = bounds_of(found, floor, spot.reliability)
    evidence = registry.evidence(version)
    record = Check(
        encoder_version=version.version,
        encoder_decoder=version.decoder_fingerprint,
        decoder=spot.identity.teacher.decoder_fingerprint,
        decoder_uri=spot.decoder_uri,
        corpus_uri=settings.corpus,
        spot_label_set=spot.id,
        figures=figures(found),
        untrained=figures(floor.found[UNTRAINED]),
        bounds=bounds,
        judgement=judge(found, evidence, settings.drift),
        created=now(),
    )
    hashes = ([s.hash for s in block.queries], [s.hash for s in block.candidates])
    least = evidence.figures["encoder"]["rho"]["value"] - settings.drift.margin
    rendered = agreement_report(
        pairs_frame(*hashes, scores, block.labels, floor.scores[floor.name]),
        evidence.frame(),
        bounds,
        least,
        {"encoder": version.version, "decoder": record.decoder[:16], "verdict": str(record.verdict)},
    )
    return record, rendered


def report(
    settings: Settings, store: ObjectStore, version: EncoderVersion, kept: Check, rendered: RenderedReport
) -> None:
    """Show the decision; the Evidently UI may be away, the record in the store is what counts."""
    links = {"Evidently report": report_link(store, kept), "MLflow version": version.url}
    links |= docs_links(store, kept.spot_label_set)
    if settings.evidently_url:
        try:
            links["Evidently dashboard"] = send(settings.evidently_url, rendered)
        except ServiceError as error:
            links["Evidently UI is away"] = settings.evidently_url
            print(error)
    moved = "**The decoder is not the one that the encoder was distilled for.**" if kept.decoder_moved else ""
    summary = f"# {kept.verdict}\n\n{headline(version, kept)}.\n\n{moved}"
    rows = kept.bounds.rows(f"encoder version {version.version}", kept.figures["rho"]) if kept.bounds else []
    show("check", summary, rows, links)
    print(headline(version, kept))


def _fresh_seed() -> int:
    """A draw of its own for each run; a run that is tried again draws the same."""
    return int(str(flow_run.id).replace("-", "")[:8], 16) if flow_run.id else time.time_ns() % 2**32
