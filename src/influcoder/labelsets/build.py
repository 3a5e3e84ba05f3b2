"""From a plan to a label set, with the settings that a user gave."""

from dataclasses import replace

from influcoder.decoder import Decoder, load_decoder
from influcoder.influence.cache import FeatureCache
from influcoder.influence.labeller import label_samples
from influcoder.influence.reliability import measure_reliability
from influcoder.influence.remote import Order, label_on_ray
from influcoder.influence.teacher import Teacher, TeacherSpec
from influcoder.labelsets.labelset import LabelSet, assemble
from influcoder.labelsets.plan import Plan
from influcoder.samples import Corpus, Sample, read_corpus
from influcoder.settings import Settings, SplitBudget
from influcoder.store import ObjectStore


def read_corpora(settings: Settings) -> tuple[Corpus, Corpus | None]:
    """The pool of candidates, and the pool of queries where it is another one."""
    queries = read_corpus(settings.queries) if settings.queries else None
    return read_corpus(settings.corpus), queries


def build_label_set(settings: Settings, spec: TeacherSpec, plan: Plan, store: ObjectStore) -> LabelSet:
    """Label what was planned; features that are cached under the same teacher are not computed again."""
    decoder = decoder_for(settings, spec)
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=spec)
    cache, labels = FeatureCache(store, teacher.id), settings.labels
    probe = _probe(plan, labels.reliability)
    reliability = measure_reliability(decoder, teacher, *probe, cache, labels.token_budget) if any(probe) else None
    quarantined: dict[str, str] = {}
    if labels.engine == "ray":
        quarantined = label_on_ray(Order(settings.decoder, teacher, settings.store, labels), plan.samples).quarantined
    samples = [sample for sample in plan.samples if sample.hash not in quarantined]
    labelled = label_samples(decoder, teacher, samples, cache, labels.token_budget, labels.shard_samples)
    labelled = replace(labelled, quarantined=quarantined | labelled.quarantined)
    return assemble(plan, teacher, decoder.uri, labelled, reliability)


def _probe(plan: Plan, budget: SplitBudget) -> tuple[list[Sample], list[Sample]]:
    """Queries and candidates of the selection split; spot labels have none, their teacher was judged before."""
    return _some(plan, "query", budget.queries), _some(plan, "candidate", budget.candidates)


def _some(plan: Plan, role: str, count: int) -> list[Sample]:
    return [entry.sample for entry in plan.entries if entry.split == "selection" and entry.role == role][:count]


def decoder_for(settings: Settings, spec: TeacherSpec) -> Decoder:
    """The decoder in use now, loaded as a teacher wants it."""
    return load_decoder(settings.decoder, spec.dtype, spec.attention)
