"""Labelling on a Ray cluster: each task labels a shard into the shared feature cache, and returns counts alone.

Ray's core rather than Prefect's task runner for Ray: the library works without Prefect, the workers need to reach
nothing but the store, and a shard is no task run with a state of its own to keep.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from influcoder.core.errors import DecoderError, InflucoderError, ServiceError, WrongDecoderError
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.influence.distributed.connection import connected, first_line, import_ray
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.gradients import State
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.teacher import Teacher
from influcoder.samples import Sample
from influcoder.settings.labels import LabelSettings
from influcoder.settings.servers import StoreSettings
from influcoder.storage.object_store import ObjectStore

logger = logging.getLogger(__name__)
ATTEMPTS = 5
PATIENCE_SECONDS = 60.0
# What Ray is given at once: more than the slots of most clusters, and little enough for the driver to hold.
IN_FLIGHT = 1024
Results = Generator[tuple[list[Sample], "Outcome"], None, None]
_SAME_EVERYWHERE = "Every node needs the same environment: influcoder, Ray and Python in the same versions."


@dataclass(frozen=True)
class Order:
    """What every task of a run is told, beside its samples.

    Args:
        decoder_uri: where a worker finds the decoder; it must lead to the same checkpoint on every node.
        teacher: whose features to compute.
        store: the bucket of the feature cache, as a worker reaches it; it prints no credentials.
        labels: size of batches and shards, and what a task takes of a node.
        state: what the teacher has to know before its first feature.
    """

    decoder_uri: str
    teacher: Teacher
    store: StoreSettings
    labels: LabelSettings
    state: State | None = None


@dataclass(frozen=True)
class Outcome:
    """What labelling a number of samples gave; their features are in the cache.

    Args:
        quarantined: why a sample has no feature, by its hash.
        computed: how many features were computed.
        restarted: how many shards were begun again, since their worker was lost.
    """

    quarantined: dict[str, str]
    computed: int
    restarted: int = 0


def label_on_ray(order: Order, samples: Sequence[Sample]) -> Outcome:
    """Fill the feature cache from the workers of a Ray cluster, which is there already and is left running.

    Args:
        order: decoder, teacher, store and settings.
        samples: unique by content; those that are cached are left out.
    Raises:
        SettingsError: Ray is not installed.
        ServiceError: no cluster answers, its nodes have another environment, or one shard lost its worker
            `ATTEMPTS` times.
        WrongDecoderError: a worker sees another checkpoint under the decoder's URI.
        InflucoderError: whatever else a worker met.
    """
    if Path(order.decoder_uri).exists():
        # Workers have another working directory.
        order = replace(order, decoder_uri=str(Path(order.decoder_uri).absolute()))
    known = FeatureCache(ObjectStore(order.store), order.teacher.features_id).known()
    shards = in_shards([sample for sample in samples if sample.hash not in known], order.labels.shard_samples)
    total = sum(map(len, shards))
    if not shards:
        return Outcome({}, 0)
    quarantined: dict[str, str] = {}
    computed = restarted = 0
    with ExitStack() as stack:
        ray = stack.enter_context(connected(order.labels.ray_address))
        ticker = stack.enter_context(progress("labelling on Ray", total))
        for shard, outcome in stack.enter_context(closing(_results(ray, order, shards))):
            quarantined |= outcome.quarantined
            computed += outcome.computed
            restarted += outcome.restarted
            ticker.advance(len(shard))
    logger.info("Ray: %d of %d shards were begun again, %d features computed", restarted, len(shards), computed)
    return Outcome(quarantined, computed, restarted)


def in_shards(samples: Sequence[Sample], size: int) -> list[list[Sample]]:
    """Samples of like length together, longest first: little padding, and no long shard is left for the end."""
    ordered = sorted(samples, key=lambda sample: (-len(sample.context) - len(sample.target), sample.hash))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _results(ray: Any, order: Order, shards: Sequence[list[Sample]]) -> Results:
    """What each shard gave, as the tasks end; a shard whose worker is lost goes to another one."""
    # Ray would end a worker that holds a GPU after each task, and load the decoder anew; 0 lets it live.
    options = {"num_cpus": order.labels.ray_cpus, "num_gpus": order.labels.ray_gpus, "max_calls": 0, "max_retries": 0}
    task = ray.remote(**options)(label_shard)
    told = ray.put(order)
    waiting = [(shard, 0) for shard in reversed(shards)]
    running: dict[Any, tuple[list[Sample], int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < IN_FLIGHT:
                shard, losses = waiting.pop()
                running[task.remote(told, shard, losses)] = (shard, losses)
            done, _ = ray.wait(list(running), num_returns=1, timeout=PATIENCE_SECONDS)
            if not done:
                _say_what_is_free(ray, order.labels)
                continue
            shard, losses = running.pop(done[0])
            outcome = outcome_of(ray, done[0], len(shard), losses + 1)
            if outcome is None:
                waiting.append((shard, losses + 1))
            else:
                yield shard, outcome
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def outcome_of(ray: Any, reference: Any, samples: int, attempts: int) -> Outcome | None:
    """What a task gave; None where its worker was lost and the shard is to be begun again.

    Raises:
        InflucoderError: what the worker met, or what became of it.
    """
    kinds = ray.exceptions
    try:
        return ray.get(reference)
    except kinds.RayTaskError as error:
        if isinstance(error.cause, InflucoderError):
            raise error.cause from None
        if "failed to import" in str(error.cause):
            raise ServiceError("a Ray worker can't import what it is to run.", _SAME_EVERYWHERE) from error
        raise
    except (kinds.WorkerCrashedError, kinds.NodeDiedError, kinds.OutOfMemoryError, kinds.ObjectLostError) as error:
        if attempts == ATTEMPTS:
            raise ServiceError(
                f"a shard of {samples} samples lost its worker {attempts} times: {first_line(error)}.",
                "Where memory is short, lower labels.token_budget or raise labels.ray_cpus; then label again.",
            ) from error
        logger.warning("a worker was lost: its shard of %d samples is begun again", samples)
        return None
    except kinds.RayError as error:
        raise ServiceError(f"the Ray cluster can't run a task: {first_line(error)}.", _SAME_EVERYWHERE) from error


def _say_what_is_free(ray: Any, labels: LabelSettings) -> None:
    """A cluster may be about to grow, so that nothing fits is no error; but nobody should have to guess."""
    free = {name: amount for name, amount in ray.available_resources().items() if name in ("CPU", "GPU")}
    logger.info(
        "no shard ended in %.0f s; a task takes %g CPUs and %g GPUs, and the cluster has %s free",
        *(PATIENCE_SECONDS, labels.ray_cpus, labels.ray_gpus, free or "none"),
    )


def label_shard(order: Order, shard: Sequence[Sample], losses: int) -> Outcome:
    """A task: label a shard in the process of a worker.

    Args:
        order: decoder, teacher, store and settings.
        shard: samples that were not cached when the run began.
        losses: how many workers were lost over this shard.
    Raises:
        WrongDecoderError: this node sees another checkpoint under the decoder's URI.
        DecoderError: this node can't load the decoder.
    """
    decoder = _worker_decoder(order.decoder_uri, order.teacher, order.labels.ray_cpus, order.labels.ray_gpus > 0)
    cache = _ShardCache(ObjectStore(order.store), order.teacher.features_id, losses > 0)
    labelled = label_samples(decoder, order.teacher, shard, cache, Effort.of(order.labels), order.state)
    return Outcome(labelled.quarantined, labelled.computed, losses)


class _ShardCache(FeatureCache):
    """The feature cache for one shard: the driver has looked already, so only a shard begun again looks once more.

    Were each task to look, the requests of a run would grow with the square of its shards.
    """

    def __init__(self, store: ObjectStore, teacher_id: str, look: bool) -> None:
        super().__init__(store, teacher_id)
        self._look = look

    def known(self) -> dict[str, str]:
        return super().known() if self._look else {}


@lru_cache(maxsize=1)
def _worker_decoder(uri: str, teacher: Teacher, cpus: float, on_gpu: bool) -> Decoder:
    """The decoder of this process, loaded once; the teacher is part of the key, as a checkpoint may be replaced."""
    torch.set_num_threads(max(1, int(cpus)))
    node = import_ray().util.get_node_ip_address()
    try:
        decoder = load_decoder(uri, teacher.spec.dtype, teacher.spec.attention, "auto" if on_gpu else "cpu")
    except DecoderError as error:
        raise DecoderError(f"on the Ray node {node}: {error}") from error
    if decoder.fingerprint != teacher.decoder_fingerprint:
        raise WrongDecoderError(
            f"the Ray node {node} sees another checkpoint under {uri}: {decoder.fingerprint[:12]} "
            f"instead of {teacher.decoder_fingerprint[:12]}.",
            "Give every node the same one, such as a shared folder or hf:NAME@REVISION.",
        )
    return decoder
