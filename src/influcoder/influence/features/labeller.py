"""Influence features of many samples: what is cached is read, the rest is computed and kept as it comes."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.core.errors import WrongDecoderError
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.cache import FeatureCache, FeatureTable
from influcoder.influence.features.gradients import Features, State, extract_features
from influcoder.influence.features.tokens import Tokens, tokenize
from influcoder.influence.teacher import Teacher
from influcoder.samples import Sample
from influcoder.settings.labels import LabelSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effort:
    """How much is worked on at once, and how it is kept.

    Args:
        batching: tokens in a batch, and batches at a time.
        shard_samples: samples in one object of the cache. Every batch is written when it is done, so a killed
            process loses one at most for each worker; full shards replace their batches.
    """

    batching: Batching
    shard_samples: int

    @staticmethod
    def of(labels: LabelSettings) -> "Effort":
        """As the settings say."""
        return Effort(Batching(labels.token_budget, labels.workers), labels.shard_samples)


@dataclass(frozen=True)
class Labelled:
    """What labelling gave.

    Args:
        table: features in the order of the samples, those left out that have none.
        quarantined: why a sample has no feature, by its hash.
        computed: how many were computed now; the rest came from the cache.
    """

    table: FeatureTable
    quarantined: dict[str, str]
    computed: int


def label_samples(
    decoder: Decoder,
    teacher: Teacher,
    samples: Sequence[Sample],
    cache: FeatureCache,
    effort: Effort,
    state: State | None = None,
) -> Labelled:
    """Influence features of samples; killed and run again, it goes on after the last batch that was done.

    Args:
        decoder: the decoder whose gradients count.
        teacher: whose features they are.
        samples: those of the same content are one.
        cache: where features are kept.
        effort: how much is worked on at once.
        state: what the teacher has to know before its first feature.
    Raises:
        WrongDecoderError: the decoder is not the teacher's.
    """
    check_decoder(decoder, teacher)
    known, unique = cache.known(), {sample.hash: sample for sample in samples}
    cached = [value for value in unique if value in known]
    missing = [sample for value, sample in unique.items() if value not in known]
    logger.info("labelling %d samples: %d are cached, %d are new", len(unique), len(cached), len(missing))
    quarantined: dict[str, str] = {}

    def tables() -> Iterator[FeatureTable]:
        yield from cache.load(cached, known)
        with progress("labelling", len(missing)) as ticker, Shards(cache, effort.shard_samples) as shards:
            for table, bad in computed(decoder, teacher, missing, effort.batching, state):
                shards.add(table)
                quarantined.update(bad)
                ticker.advance(len(table.hashes) + len(bad))
                yield table

    table = FeatureTable.gather(tables(), list(unique))
    return Labelled(table, quarantined, len(missing) - len(quarantined))


def check_decoder(decoder: Decoder, teacher: Teacher) -> None:
    """Refuse a decoder that a teacher does not speak for.

    Raises:
        WrongDecoderError: its fingerprint is another one.
    """
    if decoder.fingerprint != teacher.decoder_fingerprint:
        raise WrongDecoderError(
            f"decoder {decoder.uri} has the fingerprint {decoder.fingerprint[:12]}, "
            f"the teacher speaks for {teacher.decoder_fingerprint[:12]}."
        )


def usable_rows(
    samples: Sequence[Sample], tokens: Sequence[Tokens], features: Features, storage: str
) -> tuple[FeatureTable, dict[str, str]]:
    """The features of a batch that can be compared, and why the others can't, by the hash of the sample."""
    usable = np.isfinite(features.losses) & np.isfinite(features.norms) & (features.norms > 0)
    quarantined = {
        samples[row].hash: f"loss {features.losses[row]}, gradient norm {features.norms[row]}"
        for row in np.flatnonzero(~usable).tolist()
    }
    rows = np.flatnonzero(usable).tolist()
    table = FeatureTable(
        tuple(samples[row].hash for row in rows),
        features.vectors[rows].astype(storage),
        features.norms[rows].astype(np.float32),
        features.losses[rows].astype(np.float32),
        np.array([tokens[row].cut for row in rows], np.float32),
    )
    return table, quarantined


def computed(
    decoder: Decoder, teacher: Teacher, samples: Sequence[Sample], batching: Batching, state: State | None = None
) -> Iterator[tuple[FeatureTable, dict[str, str]]]:
    """The features of samples batch by batch, and why some have none."""
    spec = teacher.spec
    # Token ids of a million samples would fill the memory that features no longer do; they are made twice instead.
    lengths = [len(tokenize(decoder.tokenizer, sample, spec.max_tokens)) for sample in samples]

    def work(own: Decoder, batch: list[int]) -> tuple[FeatureTable, dict[str, str]]:
        chosen = [samples[row] for row in batch]
        tokens = [tokenize(decoder.tokenizer, sample, spec.max_tokens) for sample in chosen]
        return usable_rows(chosen, tokens, extract_features(own, spec, tokens, state), spec.storage)

    for _, result in in_batches(lengths, *batching.share(decoder, work)):
        yield result


class Shards:
    """Writes every batch at once, so that a kill loses one at most, and merges them into shards of good size."""

    def __init__(self, cache: FeatureCache, shard_samples: int) -> None:
        self._cache = cache
        self._size = shard_samples
        self._parts: list[tuple[str, FeatureTable]] = []

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self._merge()

    def add(self, table: FeatureTable) -> None:
        """Write a batch, and a shard of those before it where they make one."""
        if not table.hashes:
            return
        self._parts.append((self._cache.add(table), table))
        if sum(len(part.hashes) for _, part in self._parts) >= self._size:
            self._merge()

    def _merge(self) -> None:
        if len(self._parts) > 1:
            self._cache.merge([key for key, _ in self._parts], [table for _, table in self._parts])
        self._parts = []
