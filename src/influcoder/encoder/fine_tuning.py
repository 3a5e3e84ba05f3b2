"""Distillation by gradient descent: a text encoder learns to rank as exact influence does, step by step."""

import logging
import math
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from influcoder.core.errors import EncoderError
from influcoder.core.progress import Ticker, progress
from influcoder.encoder.checkpoints import Checkpoints
from influcoder.encoder.losses import distillation_loss
from influcoder.encoder.model import Encoder
from influcoder.encoder.result import Distilled, Epoch, Say
from influcoder.encoder.training import Training, key_of
from influcoder.labelsets import Block, LabelSet
from influcoder.settings.labels import EncoderSettings
from influcoder.settings.teacher import COSINES
from influcoder.statistics.agreement import agreement

logger = logging.getLogger(__name__)
# Epochs that are longer are saved in between.
SECONDS_BETWEEN_CHECKPOINTS = 300.0


def fine_tune(
    encoder: Encoder, labels: LabelSet, settings: EncoderSettings, say: Say, checkpoints: Checkpoints | None = None
) -> Distilled:
    """Train an encoder on the train split; the selection split chooses the epoch, the report split is not looked at.

    The loss and the optimiser are the published ones (arXiv 2606.13668). Two things are ours: where labels allow it,
    a step ranks every sample of a batch against all the others, whatever their roles, and training stops early,
    since the published recipe overfits.

    Args:
        encoder: where to start from; its weights are changed.
        labels: a training label set.
        settings: recipe and stopping rule.
        say: is given the number and the figures of each epoch, those before a checkpoint among them.
        checkpoints: where training goes on from after a kill, with the weights that it would have had without one.
    Raises:
        EncoderError: the loss is no longer finite.
        ChangedMeanwhileError: another run has taken this training over.
    """
    train, selection = comparable(labels), labels.evidence("selection")
    training = _begin(encoder, train, selection, settings, checkpoints)
    for epoch in training.history:
        _report(say, epoch)
    count = len(list(steps(train, settings.batch, np.random.default_rng(0))))
    done = (len(training.history) - 1) * count + len(training.losses)
    with progress("distilling", settings.epochs * count, done) as ticker:
        while not training.finished(settings):
            _train_epoch(training, train, settings, ticker, checkpoints)
            _report(say, training.close_epoch(rho_of(encoder, selection)))
            if checkpoints:
                checkpoints.save(training.saved())
    encoder.model.load_state_dict(training.kept)
    history, best = tuple(training.history), training.best
    how = f"the selection split kept epoch {best.number} of {len(history) - 1}"
    return Distilled(encoder, f"starting at `{encoder.uri}`", how, best.rho, history, best.number)


def _begin(
    encoder: Encoder, train: Block, selection: Block, settings: EncoderSettings, checkpoints: Checkpoints | None
) -> Training:
    """A training before its first step, or where a killed one left off."""
    saved = checkpoints.open(key_of(encoder, train, selection, settings)) if checkpoints else None
    torch.manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=settings.learning_rate, fused=True)
    # Epoch 0 is the encoder that training began with: it is shown, but never kept, since keeping it would be no
    # training. Whether what was kept is better is for the gate to say, on labels that chose nothing.
    before = Epoch(0, float("nan"), float("nan") if saved else rho_of(encoder, selection))
    training = Training(encoder, optimizer, np.random.default_rng(settings.seed), [before], before)
    if saved:
        training.restore(saved)
        epoch, step = len(training.history), len(training.losses)
        logger.info("training goes on after step %d of epoch %d, from its checkpoint", step, epoch)
    return training


def _train_epoch(
    training: Training, train: Block, settings: EncoderSettings, ticker: Ticker, checkpoints: Checkpoints | None
) -> None:
    saved_at, number = time.monotonic(), len(training.history)
    for part in islice(steps(train, settings.batch, training.generator), len(training.losses), None):
        training.losses.append(_step(training.encoder, training.optimizer, part, settings.temperature))
        rho = training.best.rho
        ticker.advance(note=f"epoch {number}, loss {training.losses[-1]:.3f}, selection ρ so far {rho:.3f}")
        if checkpoints and time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            checkpoints.save(training.saved())
            saved_at = time.monotonic()


def _report(say: Say, epoch: Epoch) -> None:
    loss = {"train.loss": epoch.loss} if epoch.number else {}
    say(epoch.number, {**loss, "selection.rho": epoch.rho})


def comparable(labels: LabelSet) -> Block:
    """The train split with labels in a cosine's range, in which alone the loss's temperature means something.

    Labels that are no cosines (dot products, influence functions, imported scores) are scaled query by query.
    """
    train = labels.training_block()
    if labels.identity.teacher.spec.method in COSINES:
        return train
    largest = np.abs(np.nan_to_num(train.labels)).max(axis=1, keepdims=True)
    return Block(train.queries, train.candidates, train.labels / np.where(largest > 0, largest, 1))


def steps(train: Block, size: int, generator: np.random.Generator) -> Iterator[Block]:
    """The parts of one epoch; every candidate is in one, and each part holds at least `size` samples where there are.

    A square is cut into smaller ones: each sample of a part ranks all its others. Else a quarter of a part are
    queries, as in the published recipe, which has twice as many candidates as queries in all.
    """
    if train.is_square:
        for rows in _groups(len(train.queries), size, generator):
            yield train.part(rows, rows)
        return
    columns = _groups(len(train.candidates), max(2, size - size // 4), generator)
    queries = _groups(len(train.queries), max(1, size // 4), generator)
    for turn in range(max(len(queries), len(columns))):
        yield train.part(queries[turn % len(queries)], columns[turn % len(columns)])


def _groups(samples: int, size: int, generator: np.random.Generator) -> list[list[int]]:
    return [part.tolist() for part in np.array_split(generator.permutation(samples), max(1, samples // size))]


def _step(encoder: Encoder, optimizer: torch.optim.Optimizer, part: Block, temperature: float) -> float:
    encoder.model.train()
    samples = part.queries if part.is_square else [*part.queries, *part.candidates]
    vectors = encoder.forward([encoder.view(sample) for sample in samples])
    others = vectors if part.is_square else vectors[len(part.queries) :]
    scores = vectors[: len(part.queries)] @ others.T
    loss = distillation_loss(scores, torch.as_tensor(part.labels).to(scores), temperature)
    optimizer.zero_grad()
    loss.backward()
    # Read once, and after the way back has been begun: a GPU has nothing to do while the host waits for a number.
    value = float(loss.detach())
    if not math.isfinite(value):
        raise EncoderError("the training loss is not finite.", "Lower encoder.learning_rate.")
    optimizer.step()
    return value


def rho_of(encoder: Encoder, block: Block) -> float:
    """Mean per-query ρ of an encoder on a block, without an interval."""
    scores = encoder.scores(block.queries, block.candidates)
    return agreement(scores, block.labels, resamples=2).rho.value
