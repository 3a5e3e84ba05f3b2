"""From a plan to a label set, with the settings that a user gave."""

from influcoder.decoder import Decoder, load_decoder
from influcoder.influence.cache import FeatureCache
from influcoder.influence.labeller import label_samples
from influcoder.influence.teacher import Teacher, TeacherSpec
from influcoder.labelsets.labelset import LabelSet, assemble
from influcoder.labelsets.plan import Plan
from influcoder.samples import Corpus, read_corpus
from influcoder.settings import Settings
from influcoder.store import ObjectStore


def read_corpora(settings: Settings) -> tuple[Corpus, Corpus | None]:
    """The pool of candidates, and the pool of queries where it is another one."""
    queries = read_corpus(settings.queries) if settings.queries else None
    return read_corpus(settings.corpus), queries


def build_label_set(settings: Settings, spec: TeacherSpec, plan: Plan, store: ObjectStore) -> LabelSet:
    """Label what was planned; features that are cached under the same teacher are not computed again."""
    decoder = decoder_for(settings, spec)
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=spec)
    labelled = label_samples(
        decoder,
        teacher,
        plan.samples,
        FeatureCache(store, teacher.id),
        settings.labels.token_budget,
        settings.labels.shard_samples,
    )
    return assemble(plan, teacher, decoder.uri, labelled)


def decoder_for(settings: Settings, spec: TeacherSpec) -> Decoder:
    """The decoder in use now, loaded as a teacher wants it."""
    return load_decoder(settings.decoder, spec.dtype, spec.attention)
