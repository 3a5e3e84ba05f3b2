"""Past encoders measured on spot labels that are newer than they are.

Such a record is no evidence for any decision: it stands in a folder of its own, where no check looks.
"""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from influcoder.core.provenance import now
from influcoder.labelsets import Manifest
from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import Agreement
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import keep, read
from monitoring.checks.record import Check, figures


class Backfill(BaseModel):
    """What a past encoder was worth on newer labels.

    Args:
        encoder_version: the version.
        encoder_decoder: fingerprint of the decoder that it was distilled for.
        decoder: fingerprint of the decoder that the labels are of.
        spot_label_set: id of the labels.
        labelled: when they were published, UTC, ISO 8601.
        figures: value, lo, hi and queries of every figure.
        created: when this was computed, UTC, ISO 8601.
        backfill: true; tells it from a check.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    encoder_version: str
    encoder_decoder: str
    decoder: str
    spot_label_set: str
    labelled: str
    figures: dict[str, dict[str, float]]
    created: str
    backfill: bool = True


def spot_manifests(store: ObjectStore) -> list[Manifest]:
    """Every spot label set in the store, oldest first."""
    ids = [key.split("/")[1] for key in store.keys("labelsets/") if key.endswith("/manifest.json")]
    found = [load_manifest(store, label_set) for label_set in ids]
    return sorted((m for m in found if m.identity.kind == "spot"), key=lambda m: (m.created, m.id))


def missing(
    store: ObjectStore, model: str, version: EncoderVersion, spec: TeacherSpec, since: str, checks: list[Check]
) -> Iterator[Manifest]:
    """The spot labels that a version was not measured on yet: of its teacher's kind, and newer than its own labels."""
    seen = {check.spot_label_set for check in checks if check.encoder_version == version.version}
    for manifest in spot_manifests(store):
        newer = manifest.created >= since and manifest.identity.teacher.spec == spec
        if newer and manifest.id not in seen and not store.exists(_key(model, version.version, manifest.id)):
            yield manifest


def save(store: ObjectStore, model: str, version: EncoderVersion, spot: Manifest, found: Agreement) -> Backfill:
    """Keep what was measured; the first record stands."""
    record = Backfill(
        encoder_version=version.version,
        encoder_decoder=version.decoder_fingerprint,
        decoder=spot.identity.teacher.decoder_fingerprint,
        spot_label_set=spot.id,
        labelled=spot.created,
        figures=figures(found),
        created=now(),
    )
    return keep(store, _key(model, version.version, spot.id), record)


def backfills(store: ObjectStore, model: str) -> list[Backfill]:
    """Every record, by version and age of its labels."""
    found = [read(store, key, Backfill) for key in store.keys(f"backfill/{model}/")]
    kept = [record for record in found if record]
    return sorted(kept, key=lambda record: (int(record.encoder_version), record.labelled))


def _key(model: str, version: str, label_set: str) -> str:
    return f"backfill/{model}/{version}/{label_set}.json"
