"""What a teacher has to know of a decoder before its first feature: an optimiser's state, or a whitening.

A whitening is made once for a decoder and a specification, of a fixed draw of the pool, and kept in the store: a pool
that grows would else give another teacher, and every label would be paid for again.
"""

import logging
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import IntegrityError, SettingsError
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.adam import AdamState, load_state
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.gradients import State
from influcoder.influence.features.moments import measure_whitening
from influcoder.influence.features.whitening import Whitening, read_whitening
from influcoder.influence.teacher import Teacher
from influcoder.labelsets.plan import draw_reference, other_reference
from influcoder.samples import Sample, read_corpus
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore, sha256
from influcoder.storage.records import keep, read

logger = logging.getLogger(__name__)
_REMEDY = "Delete it, and label again: the second moments are measured anew."


class WhiteningRecord(BaseModel):
    """What a whitening was made of.

    Args:
        reference: hash of the samples, which the teacher's identity names.
        samples: their hashes, in their order.
        tensors: SHA-256 of the object that holds the directions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    samples: tuple[str, ...]
    tensors: str


def state_of(settings: Settings, decoder: Decoder, spec: TeacherSpec, store: ObjectStore) -> State | None:
    """The state that a teacher needs; None where it needs none.

    Raises:
        SettingsError: the teacher is LESS and no state is named, or the pool has too few samples for a whitening.
        OptimizerStateError: the file is no optimiser state.
        IntegrityError: what was kept of a whitening is damaged.
    """
    if spec.method == "less":
        return optimizer_state(settings)
    return whitening_of(settings, decoder, spec, store) if spec.whitened else None


def optimizer_state(settings: Settings) -> AdamState:
    """The optimiser state that LESS preconditions with.

    Raises:
        SettingsError: none is named.
        OptimizerStateError: the file is no optimiser state.
    """
    if settings.labels.optimizer_state is None:
        raise SettingsError(
            "the teacher 'less' needs the state of Adam.",
            "Set labels.optimizer_state to a file; make one with: influcoder warm-up --out adam.safetensors",
        )
    return load_state(Path(settings.labels.optimizer_state))


def whitening_of(settings: Settings, decoder: Decoder, spec: TeacherSpec, store: ObjectStore) -> Whitening:
    """The whitening of a decoder under a specification; measured where none is kept."""
    folder = _folder(decoder, spec)
    record = read(store, f"{folder}/record.json", WhiteningRecord, _REMEDY)
    if record is None:
        samples = _reference(settings, spec)
        logger.info("second moments of %d samples, once for this decoder", len(samples))
        record = _keep(store, folder, samples, measure_whitening(decoder, spec, samples, _batching(settings)))
    return _fetched(store, folder, record)


# A check labels batch by batch, and would fetch megabytes for each.
@lru_cache(maxsize=2)
def _fetched(store: ObjectStore, folder: str, record: WhiteningRecord) -> Whitening:
    key = f"{folder}/{record.tensors}.safetensors"
    data = store.get(key)
    if sha256(data) != record.tensors:
        raise IntegrityError(f"{store.uri(key)} was changed after it was written.", _REMEDY)
    return read_whitening(data, record.reference)


def other_whitening(
    settings: Settings, decoder: Decoder, spec: TeacherSpec, store: ObjectStore
) -> tuple[Whitening, int]:
    """The same of other samples, as a second opinion; and how many of its samples are the same."""
    record = read(store, f"{_folder(decoder, spec)}/record.json", WhiteningRecord, _REMEDY)
    # The pool may have grown since: what counts is what was kept.
    known, pool = set(record.samples if record else ()), read_corpus(settings.corpus)
    first = [sample for sample in pool.samples if sample.hash in known] or _reference(settings, spec)
    other = other_reference(pool, first, settings.labels.seed)
    shared = len(known & {sample.hash for sample in other})
    return measure_whitening(decoder, spec, other, _batching(settings), seed=1), shared


def _folder(decoder: Decoder, spec: TeacherSpec) -> str:
    return f"whitenings/{Teacher(decoder_fingerprint=decoder.fingerprint, spec=spec).features_id}"


def _reference(settings: Settings, spec: TeacherSpec) -> list[Sample]:
    return draw_reference(read_corpus(settings.corpus), settings.labels.seed, spec.reference)


def _batching(settings: Settings) -> Batching:
    return Batching(settings.labels.token_budget, settings.labels.workers)


def _keep(store: ObjectStore, folder: str, samples: list[Sample], found: Whitening) -> WhiteningRecord:
    """Keep a whitening; the one that stands, since whoever is first decides for all."""
    data = found.to_bytes()
    record = WhiteningRecord(
        reference=found.reference, samples=tuple(sample.hash for sample in samples), tensors=sha256(data)
    )
    store.keep(f"{folder}/{record.tensors}.safetensors", data)
    return keep(store, f"{folder}/record.json", record, _REMEDY)
