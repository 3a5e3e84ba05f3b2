"""What the gate goes by: champion and challenger on the same fresh spot labels, under the decoder as it is now."""

from datetime import UTC, datetime, timedelta

from flows.context import Place
from flows.label import keep, validate
from flows.steps import step
from influcoder.core.errors import (
    DecoderError,
    EncoderError,
    IntegrityError,
    RegistryError,
    SampleError,
    SettingsError,
    ShapeError,
    ValidationFailedError,
    WrongDecoderError,
)
from influcoder.decoder.load import load_decoder
from influcoder.encoder import Encoder
from influcoder.labelsets import Block, LabelSet, Manifest, load_label_set, plan_spot
from influcoder.labelsets.build import decoder_for, label_plan, read_corpora, same_teacher
from influcoder.labelsets.manifest import load_manifest
from influcoder.labelsets.publish import line
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.open_encoder import open_encoder
from influcoder.samples.query_log import lately
from influcoder.statistics.agreement import Agreement
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.baselines import measure_floor
from monitoring.checks.record import measure
from monitoring.loop.gate import GateResult, judge_challenger, no_evidence, prove_disjoint
from monitoring.loop.promotion import Promotion

# Labels, samples or an encoder that can't be had: nothing is known then, and nothing is promoted.
_NO_EVIDENCE = (
    DecoderError,
    EncoderError,
    IntegrityError,
    RegistryError,
    SampleError,
    SettingsError,
    ShapeError,
    ValidationFailedError,
    WrongDecoderError,
)


def weigh(
    place: Place, offer: Promotion, challenger: EncoderVersion, champion: EncoderVersion | None
) -> tuple[GateResult, str]:
    """What the gate says of an offer, and the id of the labels that it rests on; a server that is away is no answer."""
    try:
        own = load_manifest(place.store, challenger.label_set_id)
        spot = load_given(place, own, offer.given) if offer.given else buy_fresh(place, own, offer.seed)
        prove_unseen(place.store, spot, [version for version in (challenger, champion) if version])
        return judge(place, challenger, champion, spot.evidence("report")), spot.id
    except _NO_EVIDENCE as error:
        place.registry.version(challenger.version)
        return no_evidence(str(error)), ""


@step("buy fresh labels")
def buy_fresh(place: Place, own: Manifest, seed: int) -> LabelSet:
    """Label samples that no decision was made by: not those that the challenger was reported or asked for on."""
    settings, store, spec = place.settings, place.store, own.identity.teacher.spec
    if spec.method == "imported":
        raise SettingsError(
            "the encoder's labels are imported, so fresh ones can't be bought.",
            "Import some (influcoder import-scores --spot), then name them: influcoder promote --spot ID",
        )
    seen = {ref.hash for ref in own.identity.samples if ref.split == "report"}
    budget = settings.gate.spot or settings.labels.spot
    asked, of = lately(store, settings.asked), settings.labels.seed
    plan = plan_spot(*read_corpora(settings), budget, seed, spec.curved_on, of, seen, asked, settings.asked)
    labels = label_plan(settings, decoder_for(settings, spec), spec, plan, store)
    keep(store, labels, validate(place, labels))
    return labels


@step("load given labels")
def load_given(place: Place, own: Manifest, spot: str) -> LabelSet:
    """Spot labels of the challenger's kind, under the decoder as it is now, and young enough."""
    settings, store = place.settings, place.store
    manifest, labels = load_manifest(store, spot), same_teacher(load_label_set(store, spot), own.identity.teacher.spec)
    found, present = manifest.identity.teacher.decoder_fingerprint, load_decoder(settings.decoder).fingerprint
    if found != present:
        raise WrongDecoderError(f"labels {spot} are of decoder {found[:12]}, and {present[:12]} is in use.")
    if manifest.identity.kind != "spot":
        raise SettingsError(f"label set {spot} is to train from.", "Import one with: influcoder import-scores --spot")
    age = datetime.now(UTC) - datetime.fromisoformat(manifest.created)
    if age > timedelta(hours=settings.gate.evidence_hours):
        hours = age.total_seconds() / 3600
        raise SettingsError(f"labels {spot} are {hours:.0f} hours old.", "Give others, or set gate.evidence_hours.")
    return labels


@step("prove that nobody was trained on them")
def prove_unseen(store: ObjectStore, spot: LabelSet, versions: list[EncoderVersion]) -> None:
    """The spot labels against every label set that either encoder learnt from."""
    prove_disjoint(spot, (manifest for version in versions for manifest in line(store, version.label_set_id)))


@step("hold against the gate")
def judge(place: Place, challenger: EncoderVersion, champion: EncoderVersion | None, block: Block) -> GateResult:
    """Measure both and the floor on the same queries and candidates."""
    settings = place.settings
    floor = measure_floor(Encoder(settings.encoder.base, settings.encoder.max_tokens), block)
    found = {v.version: _measure(place, v, block) for v in (challenger, champion) if v is not None}
    against = found[champion.version] if champion else None
    rules = settings.gate
    name = f"floor ({floor.name}, ρ {floor.highest.rho.value:.3f})"
    return judge_challenger(found[challenger.version], floor.highest, against, rules.margin, rules.min_queries, name)


def _measure(place: Place, version: EncoderVersion, block: Block) -> Agreement:
    return measure(open_encoder(place.registry, version, place.settings), block)
