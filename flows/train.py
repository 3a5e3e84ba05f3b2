"""A label set version → a distilled encoder, measured, registered in MLflow as the challenger."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from prefect import flow

from flows.context import Place, load_place
from flows.steps import show, step
from influcoder.core import tags
from influcoder.core.errors import StoreError
from influcoder.decoder.load import load_decoder
from influcoder.encoder import Distilled, Encoder, distil
from influcoder.encoder.card import describe, tags_of
from influcoder.encoder.checkpoints import Checkpoints
from influcoder.encoder.distil import recipes_of
from influcoder.encoder.plots import agreement_figure, training_figure
from influcoder.labelsets import LabelSet, latest, load_label_set
from influcoder.labelsets.manifest import load_manifest
from influcoder.labelsets.publish import parents
from influcoder.registry.encoder_version import EncoderVersion, Evidence
from influcoder.registry.mlflow_registry import Registry
from influcoder.registry.open_encoder import open_encoder
from influcoder.serving.model_spec import model_spec
from influcoder.statistics.agreement import Agreement
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.baselines import UNTRAINED, bounds_of, measure_floor
from monitoring.checks.record import figures, measure


@flow(name="train")
def train(label_set: str | None = None, start: str = "base") -> str:
    """Distil an encoder, make it the challenger and return its version.

    Args:
        label_set: id of the label set; the latest one unless given.
        start: `base` for the untrained encoder, else the alias or number of the version to go on from; a closed form
            is solved from the labels alone.
    """
    place = load_place()
    registry, labels = place.registry, load(place.store, label_set)
    with registry.run(f"distil from {labels.id}", {tags.LABEL_SET: labels.id}) as run_id:
        checkpoints = Checkpoints(place.store, owner=run_id, replaced=registry.give_up)
        distilled = fit(place, labels, start, checkpoints)
        version = register(place, labels, distilled)
        checkpoints.clear()
    report(registry, version, run_id)
    return version.version


@step("load label set")
def load(store: ObjectStore, label_set: str | None) -> LabelSet:
    """Read the labels, checksums verified."""
    found = label_set or latest(store)
    if found is None:
        raise StoreError("there is no label set yet.", "Run: influcoder label")
    return load_label_set(store, found)


@step("distil")
def fit(place: Place, labels: LabelSet, start: str, checkpoints: Checkpoints) -> Distilled:
    """Solve, or train until the selection split stops getting better; all that is tried is logged.

    A training that was killed goes on from its checkpoint, and its epochs are logged again: the new run has them all.
    """
    settings, store, registry = place.settings, place.store, place.registry
    registry.log_label_set(labels.id, store.uri(f"labelsets/{labels.id}/"))
    registry.log_params({**settings.encoder.model_dump(), "start": start})
    recipes = recipes_of(labels, settings.encoder)
    encoder = starting_point(place, start) if "fine-tune" in recipes else None
    decoder = load_decoder(labels.decoder_uri) if "kernel" in recipes else None
    earlier = list(parents(store, labels)) if "kernel" in recipes else []

    def log_step(number: int, values: Mapping[str, float]) -> None:
        registry.log_metrics(values, number)

    return distil(encoder, labels, settings.encoder, decoder, earlier, log_step, checkpoints)


@step("measure and register")
def register(place: Place, labels: LabelSet, distilled: Distilled) -> EncoderVersion:
    """Measure on the report split, which nothing was chosen by, and register what was measured."""
    settings, store, registry = place.settings, place.store, place.registry
    block = labels.evidence("report")
    found = measure(distilled.encoder, block)
    floor = measure_floor(Encoder(settings.encoder.base, settings.encoder.max_tokens), block)
    untrained, bounds = floor.found[UNTRAINED], bounds_of(found, floor, labels.reliability)
    both = {"encoder": figures(found), "untrained": figures(untrained)}
    registry.log_evidence(Evidence(both, found.candidates))
    registry.log_metrics({f"report.{name}": interval.value for name, interval in found.figures().items()})
    plots = {
        "agreement, a dot a query": registry.log_figure(
            agreement_figure({"this encoder": found, **floor.found}), "agreement.png"
        ),
        "what was tried": registry.log_figure(training_figure(distilled), "training.png"),
    }
    before = before_that(store, labels, distilled.encoder)
    if before:
        registry.log_metrics({f"before.{name}": interval.value for name, interval in before.figures().items()})
    manifest = load_manifest(store, labels.id)
    with tempfile.TemporaryDirectory() as folder:
        saved = distilled.encoder.save(Path(folder, "encoder"))
        about = {**tags_of(manifest, found, untrained, before), **bounds.tags()}
        card = describe(manifest, distilled, found, untrained, bounds.paragraph, plots, before)
        return registry.register(saved, model_spec(registry.model, saved), about, card)


def before_that(store: ObjectStore, labels: LabelSet, encoder: Encoder) -> Agreement | None:
    """Agreement with the report split of the labels that these continue, if any: what still holds."""
    if labels.identity.parent is None:
        return None
    return measure(encoder, load_label_set(store, labels.identity.parent).evidence("report"))


def starting_point(place: Place, start: str) -> Encoder:
    """The encoder that fine-tuning begins with; a version that was solved in closed form has nothing to go on from."""
    settings, registry = place.settings, place.registry
    if start != "base":
        version = registry.version(start)
        encoder = open_encoder(registry, version, settings)
        if not encoder.in_closed_form:
            return encoder
    return Encoder(settings.encoder.base, settings.encoder.max_tokens)


def report(registry: Registry, version: EncoderVersion, run_id: str) -> None:
    """Show what was registered."""
    names = (tags.RHO, tags.LO, tags.HI, tags.FLOOR, tags.LIFT, tags.LABEL_SET, tags.DECODER)
    table = [{"tag": name, "value": version.tags[name]} for name in names]
    summary = (
        f"# Encoder version {version.version} is the challenger\n\n`influcoder promote` holds it against the gate."
    )
    show("encoder", summary, table, {"MLflow version": version.url, "MLflow run": registry.run_url(run_id)})
