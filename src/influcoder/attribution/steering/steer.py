"""Steering put into a Trainer, of transformers or derived from it."""

import logging
from collections.abc import Sequence
from typing import Any

from torch.utils.data import IterableDataset

from influcoder.attribution.steering.callback import Data, InfluenceCallback
from influcoder.attribution.steering.plan import Steering
from influcoder.attribution.steering.rows import check_rows
from influcoder.attribution.steering.sampler import InfluenceSampler
from influcoder.attribution.steering.snapshot import untouched_randomness
from influcoder.core.errors import SampleError, SettingsError
from influcoder.encoder import Encoder
from influcoder.samples import Sample

logger = logging.getLogger(__name__)


def steer(
    trainer: Any,
    samples: Sequence[Sample],
    queries: Sequence[Sample],
    encoder: Encoder | None = None,
    steering: Steering | None = None,
    tokenizer: Any = None,
) -> InfluenceCallback:
    """Draw a Trainer's samples by their estimated influence on validation queries.

    Call it before `trainer.train()`, also before one that resumes from a checkpoint.

    Args:
        trainer: a `transformers.Trainer`, or one derived from it.
        samples: the training samples, in the order of the rows of `trainer.train_dataset`.
        queries: what the training is for; keep apart what its success is judged by.
        encoder: whose estimates steer; one is solved for from exact labels when the training begins, unless given.
        steering: how; the defaults unless given.
        tokenizer: the decoder's; the Trainer's `processing_class` unless given.
    Returns:
        the callback; `state.measured` holds every measurement.
    Raises:
        SampleError: the data set has no rows that could be the samples.
        SettingsError: the Trainer is set up in a way that can't be steered.
    """
    steering, tokenizer = steering or Steering(), tokenizer or trainer.processing_class
    _check(trainer, tokenizer)
    with untouched_randomness():
        check_rows(trainer.train_dataset, samples, tokenizer)
    shared = len({sample.hash for sample in queries} & {sample.hash for sample in samples})
    if shared:
        logger.warning("%d of the queries are training samples too: they say most of themselves", shared)
    args = trainer.args
    seed = next(value for value in (steering.seed, args.data_seed, args.seed) if value is not None)
    sampler = InfluenceSampler(len(samples), seed) if steering.weighting else None
    callback = InfluenceCallback(Data(samples, queries, tokenizer), encoder, steering, sampler, trainer.log, seed)
    if sampler is not None:
        # Overriding this method is what transformers tells users to do; an instance's works for any subclass.
        trainer._get_train_sampler = lambda _dataset=None: sampler
    trainer.add_callback(callback)
    return callback


def _check(trainer: Any, tokenizer: Any) -> None:
    args = trainer.args
    if trainer.train_dataset is None or isinstance(trainer.train_dataset, IterableDataset):
        raise SampleError("the Trainer's data set has no rows to choose from.", "Give it one with a length.")
    if tokenizer is None:
        raise SettingsError("there is no tokenizer.", "Give one here, or the Trainer a processing_class.")
    if any(isinstance(callback, InfluenceCallback) for callback in trainer.callback_handler.callbacks):
        raise SettingsError("this Trainer is steered already.", "Make a new one.")
    if args.world_size > 1:
        raise SettingsError(
            f"{args.world_size} processes train together; steering has been shown to hold in one alone.",
            "Train in one process.",
        )
    if args.train_sampling_strategy != "random":
        raise SettingsError(
            f"the Trainer draws by {args.train_sampling_strategy!r}, and can't draw by influence too.",
            "Leave train_sampling_strategy at 'random'.",
        )
