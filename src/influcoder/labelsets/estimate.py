"""What a label set will cost, before it is paid for."""

import time
from dataclasses import dataclass

import numpy as np

from influcoder.core.errors import SettingsError
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.features.tokens import tokenize
from influcoder.labelsets.build import decoder_for, read_corpora, teacher_of
from influcoder.labelsets.plan import Plan, plan_label_set
from influcoder.labelsets.state import state_of
from influcoder.samples import Sample
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore

WARM_UP = 2
PROBE = 8


@dataclass(frozen=True)
class Estimate:
    """What labelling would take.

    Args:
        samples: samples of the label set.
        cached: how many have features already; those that the probe labelled are among them.
        tokens: tokens of the others, after the length limit.
        cut_share: share of all samples' tokens that the length limit would cut away.
        tokens_per_second: measured on a few of the samples, NaN where nothing is left to label.
        bytes_per_sample: of one feature.
        fingerprint: of the decoder.
    """

    samples: int
    cached: int
    tokens: int
    cut_share: float
    tokens_per_second: float
    bytes_per_sample: int
    fingerprint: str

    @property
    def seconds(self) -> float:
        """Expected time of labelling; 0 where nothing is left."""
        return self.tokens / self.tokens_per_second if self.tokens else 0.0

    @property
    def feature_bytes(self) -> int:
        """Expected size of the features that are not there yet."""
        return (self.samples - self.cached) * self.bytes_per_sample


def estimate(settings: Settings, store: ObjectStore) -> Estimate:
    """Plan a label set as `label` would, and measure the machine on a few of its samples.

    What the probe labels is kept, so a label set that is made afterwards does not pay for it again.
    """
    decoder, spec = decoder_for(settings, settings.teacher), settings.teacher
    if spec.pairwise:
        raise SettingsError(f"there is no probe for the teacher {spec.method!r}.", "It scores whole splits at once.")
    state = state_of(settings, decoder, spec, store)
    teacher, effort = teacher_of(decoder, spec, state), Effort.of(settings.labels)
    cache = FeatureCache(store, teacher.features_id)
    plan = _plan(settings)
    lengths = {sample.hash: tokenize(decoder.tokenizer, sample, spec.max_tokens) for sample in plan.samples}
    missing = _missing(plan, cache)
    warm, timed = _spread(missing, WARM_UP), _spread(missing[1:], PROBE)
    label_samples(decoder, teacher, warm, cache, effort, state)
    timed = [sample for sample in timed if sample.hash not in {other.hash for other in warm}]
    start = time.perf_counter()
    label_samples(decoder, teacher, timed, cache, effort, state)
    spent = time.perf_counter() - start
    left = _missing(plan, cache)
    return Estimate(
        samples=len(plan.samples),
        cached=len(plan.samples) - len(left),
        tokens=sum(len(lengths[sample.hash]) for sample in left),
        cut_share=float(np.mean([item.cut for item in lengths.values()])),
        tokens_per_second=sum(len(lengths[sample.hash]) for sample in timed) / spent if timed else float("nan"),
        bytes_per_sample=spec.width * np.dtype(spec.storage).itemsize,
        fingerprint=decoder.fingerprint,
    )


def _plan(settings: Settings) -> Plan:
    candidates, queries = read_corpora(settings)
    return plan_label_set(candidates, queries, settings.labels.budget, settings.labels.seed)


def _missing(plan: Plan, cache: FeatureCache) -> list[Sample]:
    known = cache.known()
    return sorted((s for s in plan.samples if s.hash not in known), key=lambda sample: len(sample.text))


def _spread(samples: list[Sample], count: int) -> list[Sample]:
    """Samples of every length, from ones that are sorted by it."""
    return samples[:: max(1, -(-len(samples) // count))]
