"""Influence features of many samples: what is cached is read, the rest is computed and kept as it comes."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.decoder import Decoder
from influcoder.errors import WrongDecoderError
from influcoder.influence.batching import in_batches
from influcoder.influence.cache import FeatureCache, FeatureTable
from influcoder.influence.gradients import Features, extract_features
from influcoder.influence.teacher import Teacher
from influcoder.influence.tokens import Tokens, tokenize
from influcoder.progress import progress
from influcoder.samples import Sample

logger = logging.getLogger(__name__)


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
    token_budget: int,
    shard_samples: int,
) -> Labelled:
    """Influence features of samples; killed and run again, it goes on after the last batch that was done.

    Args:
        decoder: the decoder whose gradients count.
        teacher: whose features they are.
        samples: unique by content.
        cache: where features are kept.
        token_budget: padded tokens in one batch.
        shard_samples: samples in one object of the cache. Every batch is written when it is done, so a killed
            process loses one at most; full shards replace their batches.
    Raises:
        WrongDecoderError: the decoder is not the teacher's.
    """
    if decoder.fingerprint != teacher.decoder_fingerprint:
        raise WrongDecoderError(
            f"decoder {decoder.uri} has the fingerprint {decoder.fingerprint[:12]}, "
            f"the teacher speaks for {teacher.decoder_fingerprint[:12]}."
        )
    known = cache.known()
    cached = [sample.hash for sample in samples if sample.hash in known]
    missing = [sample for sample in samples if sample.hash not in known]
    logger.info("labelling %d samples: %d are cached, %d are new", len(samples), len(cached), len(missing))
    tables = list(cache.load(cached, known))
    quarantined: dict[str, str] = {}
    with progress("labelling", len(missing)) as ticker, _Shards(cache, shard_samples) as shards:
        for table, bad in _computed(decoder, teacher, missing, token_budget):
            shards.add(table)
            tables.append(table)
            quarantined |= bad
            ticker.advance(len(table.hashes) + len(bad))
    order = [sample.hash for sample in samples if sample.hash not in quarantined]
    table = (
        FeatureTable.concatenate(tables).select(order) if tables else FeatureTable.empty(teacher.spec.projection_dim)
    )
    return Labelled(table, quarantined, len(missing) - len(quarantined))


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


def _computed(
    decoder: Decoder, teacher: Teacher, samples: Sequence[Sample], token_budget: int
) -> Iterator[tuple[FeatureTable, dict[str, str]]]:
    tokens = [tokenize(decoder.tokenizer, sample, teacher.spec.max_tokens) for sample in samples]

    def work(batch: list[int]) -> tuple[FeatureTable, dict[str, str]]:
        chosen = [tokens[row] for row in batch]
        features = extract_features(decoder, teacher.spec, chosen)
        return usable_rows([samples[row] for row in batch], chosen, features, teacher.spec.storage)

    for _, result in in_batches([len(item) for item in tokens], token_budget, work):
        yield result


class _Shards:
    """Writes every batch at once, so that a kill loses one at most, and merges them into shards of good size."""

    def __init__(self, cache: FeatureCache, shard_samples: int) -> None:
        self._cache = cache
        self._size = shard_samples
        self._parts: list[tuple[str, FeatureTable]] = []

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self._merge()

    def add(self, table: FeatureTable) -> None:
        if not table.hashes:
            return
        self._parts.append((self._cache.add(table), table))
        if sum(len(part.hashes) for _, part in self._parts) >= self._size:
            self._merge()

    def _merge(self) -> None:
        if len(self._parts) > 1:
            self._cache.merge([key for key, _ in self._parts], [table for _, table in self._parts])
        self._parts = []
