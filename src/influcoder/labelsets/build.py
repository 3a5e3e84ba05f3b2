"""From a plan to a label set, with the settings that a user gave."""

import logging
from dataclasses import replace
from functools import partial

from influcoder.core.errors import SettingsError
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.fingerprints import note
from influcoder.decoder.load import load_decoder
from influcoder.influence.distributed.engine import Order, label_on_ray
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.gradients import State
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.features.whitening import Whitening
from influcoder.influence.reliability import measure_reliability, measure_whitened
from influcoder.influence.teacher import Teacher
from influcoder.labelsets.labelset import LabelSet, assemble, assemble_pairs
from influcoder.labelsets.pairwise import measure_ceiling, reference_of, score_pairs
from influcoder.labelsets.plan import Plan, other_reference
from influcoder.labelsets.state import other_whitening, state_of
from influcoder.samples import Corpus, Sample, read_corpus
from influcoder.settings.labels import LabelSettings
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore

logger = logging.getLogger(__name__)
# Queries, candidates and reference samples.
Roles = tuple[list[Sample], list[Sample], list[Sample]]


def read_corpora(settings: Settings) -> tuple[Corpus, Corpus | None]:
    """The pool of candidates, and the pool of queries where it is another one."""
    queries = read_corpus(settings.queries) if settings.queries else None
    return read_corpus(settings.corpus), queries


def curvature_pool(settings: Settings, spec: TeacherSpec) -> Corpus:
    """What reference samples of a curvature are drawn from; not read where the teacher has none."""
    return read_corpora(settings)[0] if spec.curved_on else Corpus(settings.corpus, ())


def build_label_set(settings: Settings, spec: TeacherSpec, plan: Plan, store: ObjectStore) -> LabelSet:
    """Label what was planned under the decoder in use now, and measure what the labels are worth.

    Features that are cached under the same teacher are not computed again.

    Raises:
        SettingsError: the teacher's scores are imported, so nothing can be computed.
    """
    decoder = decoder_for(settings, spec)
    labels = label_plan(settings, decoder, spec, plan, store, measured=True)
    warn_of_change(settings, decoder)
    return labels


def warn_of_change(settings: Settings, decoder: Decoder) -> None:
    """Say so where the files of a decoder are no longer those that it was read from."""
    if decoder.files_changed:
        logger.warning(
            "the files of decoder %s changed meanwhile: these labels are those of %s, as it was read at the start",
            *(settings.decoder, decoder.fingerprint[:12]),
        )


def count_cached(settings: Settings, decoder: Decoder, spec: TeacherSpec, plan: Plan, store: ObjectStore) -> int:
    """How many samples of a plan have features already; none of a teacher that scores pairs."""
    if spec.pairwise:
        return 0
    teacher = teacher_of(decoder, spec, state_of(settings, decoder, spec, store))
    known = FeatureCache(store, teacher.features_id).known()
    return len({sample.hash for sample in plan.samples} & known.keys())


def label_plan(
    settings: Settings, decoder: Decoder, spec: TeacherSpec, plan: Plan, store: ObjectStore, measured: bool = False
) -> LabelSet:
    """Label what was planned under a decoder that is loaded already.

    Args:
        settings: effort, the pool, and the optimiser state for LESS.
        decoder: the decoder.
        spec: the teacher.
        plan: the samples in role and split.
        store: where features are kept.
        measured: whether to measure what the labels are worth, on some of the same samples.
    """
    state = state_of(settings, decoder, spec, store)
    teacher = teacher_of(decoder, spec, state)
    cache, effort = FeatureCache(store, teacher.features_id), Effort.of(settings.labels)
    if spec.pairwise:
        return _label_pairs(settings, decoder, teacher, plan, cache, measured)
    roles, reliability = _probe(plan, settings.labels, spec), None
    if measured and all(roles[:2]):
        if spec.whitened:
            second = partial(other_whitening, settings, decoder, spec, store)
            reliability = measure_whitened(decoder, teacher, roles[:2], cache, effort.batching, state, second)
        else:
            reliability = measure_reliability(decoder, teacher, *roles, cache, effort.batching, state)
    quarantined: dict[str, str] = {}
    if settings.labels.engine == "ray":
        order = Order(settings.decoder, teacher, settings.store, settings.labels, state)
        quarantined = label_on_ray(order, plan.samples).quarantined
    samples = [sample for sample in plan.samples if sample.hash not in quarantined]
    labelled = label_samples(decoder, teacher, samples, cache, effort, state)
    labelled = replace(labelled, quarantined=quarantined | labelled.quarantined)
    return assemble(plan, teacher, decoder.uri, labelled, reliability)


def _label_pairs(
    settings: Settings, decoder: Decoder, teacher: Teacher, plan: Plan, cache: FeatureCache, measured: bool
) -> LabelSet:
    scores = score_pairs(decoder, teacher, plan, cache)
    roles, reliability = _probe(plan, settings.labels, teacher.spec), None
    if measured and all(roles):
        other = other_reference(read_corpus(settings.corpus), roles[2], settings.labels.seed)
        reliability = measure_ceiling(decoder, teacher, scores, roles, other, cache)
    return assemble_pairs(plan, teacher, decoder.uri, scores, reliability)


def decoder_for(settings: Settings, spec: TeacherSpec) -> Decoder:
    """The decoder in use now, loaded as a teacher wants it.

    Raises:
        SettingsError: the teacher shows it more tokens than it has positions for.
    """
    decoder = load_decoder(settings.decoder, spec.dtype, spec.attention)
    positions = getattr(decoder.model.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and spec.max_tokens > positions:
        # Learned positions end in an index error; rotary ones go on and mean nothing.
        raise SettingsError(
            f"decoder {settings.decoder} reads {positions} tokens at most, and the teacher shows it {spec.max_tokens}.",
            f"Set teacher.max_tokens to {positions} or less.",
        )
    if spec.dtype == "float32" and not decoder.files_changed:
        note(settings.decoder, decoder)
    return decoder


def teacher_of(decoder: Decoder, spec: TeacherSpec, state: State | None) -> Teacher:
    """A specification bound to a decoder, and to its state where it has one."""
    if spec.method == "imported":
        raise SettingsError(
            "labels of this teacher are imported, not computed.",
            "Import fresh ones with: influcoder import-scores TABLE",
        )
    bound = {"decoder_fingerprint": decoder.fingerprint, "spec": spec}
    if isinstance(state, Whitening):
        return Teacher(**bound, whitening=state.reference)
    if state is not None:
        state.check(decoder, spec)
    return Teacher(**bound, optimizer=state.digest if state else "")


def same_teacher(labels: LabelSet, spec: TeacherSpec) -> LabelSet:
    """The labels, where they are of a teacher with this specification.

    Raises:
        SettingsError: they are of another kind, and say nothing about an encoder that was distilled from this one.
    """
    found = labels.identity.teacher.spec
    if found != spec:
        names = [name for name in TeacherSpec.model_fields if getattr(found, name) != getattr(spec, name)]
        raise SettingsError(
            f"label set {labels.id} is of another teacher than the encoder's labels: they differ in {', '.join(names)}."
        )
    return labels


def _probe(plan: Plan, labels: LabelSettings, spec: TeacherSpec) -> Roles:
    """Queries, candidates and reference samples that the labels' worth is measured on."""
    split = "selection" if any(entry.split == "selection" for entry in plan.entries) else "report"
    return (
        _some(plan, split, "query", labels.reliability.queries),
        _some(plan, split, "candidate", labels.reliability.candidates),
        reference_of(plan, spec),
    )


def _some(plan: Plan, split: str, role: str, count: int) -> list[Sample]:
    return [entry.sample for entry in plan.entries if entry.split == split and entry.role == role][:count]
