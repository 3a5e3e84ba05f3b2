"""Influence features of many samples: what is cached is read, the rest is computed and kept as it comes."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.decoder import Decoder
from influcoder.errors import WrongDecoderError
from influcoder.influence.cache import FeatureCache, FeatureTable
from influcoder.influence.gradients import extract_features
from influcoder.influence.teacher import Teacher
from influcoder.influence.tokens import Tokens, batches, tokenize
from influcoder.progress import Ticker, progress
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
    """Influence features of samples; killed and run again, it goes on after the last shard it wrote.

    Args:
        decoder: the decoder whose gradients count.
        teacher: whose features they are.
        samples: unique by content.
        cache: where features are kept.
        token_budget: padded tokens in one batch.
        shard_samples: samples between two writes; a killed process loses at most so many.
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
    with progress("labelling", len(missing)) as ticker:
        for shard in _shards(decoder, teacher, missing, token_budget, shard_samples, quarantined, ticker):
            cache.add(shard)
            tables.append(shard)
    order = [sample.hash for sample in samples if sample.hash not in quarantined]
    table = FeatureTable.concatenate(tables).select(order) if tables else _empty(teacher)
    return Labelled(table, quarantined, len(missing) - len(quarantined))


def _shards(
    decoder: Decoder,
    teacher: Teacher,
    samples: Sequence[Sample],
    token_budget: int,
    shard_samples: int,
    quarantined: dict[str, str],
    ticker: Ticker,
) -> Iterator[FeatureTable]:
    tokens = [tokenize(decoder.tokenizer, sample, teacher.spec.max_tokens) for sample in samples]
    pending: list[FeatureTable] = []
    for batch in batches([len(item) for item in tokens], token_budget):
        table = _batch(decoder, teacher, [samples[i] for i in batch], [tokens[i] for i in batch], quarantined)
        pending.append(table)
        ticker.advance(len(batch))
        if sum(len(item.hashes) for item in pending) >= shard_samples:
            yield FeatureTable.concatenate(pending)
            pending = []
    if sum(len(item.hashes) for item in pending):
        yield FeatureTable.concatenate(pending)


def _batch(
    decoder: Decoder,
    teacher: Teacher,
    samples: Sequence[Sample],
    tokens: Sequence[Tokens],
    quarantined: dict[str, str],
) -> FeatureTable:
    features = extract_features(decoder, teacher.spec, tokens)
    usable = np.isfinite(features.losses) & np.isfinite(features.norms) & (features.norms > 0)
    for row in np.flatnonzero(~usable).tolist():
        quarantined[samples[row].hash] = f"loss {features.losses[row]}, gradient norm {features.norms[row]}"
    rows = np.flatnonzero(usable).tolist()
    return FeatureTable(
        tuple(samples[row].hash for row in rows),
        features.vectors[rows],
        features.norms[rows].astype(np.float32),
        features.losses[rows].astype(np.float32),
        np.array([tokens[row].cut for row in rows], np.float32),
    )


def _empty(teacher: Teacher) -> FeatureTable:
    none = np.zeros(0, np.float32)
    return FeatureTable((), np.zeros((0, teacher.spec.projection_dim), np.float32), none, none, none)
