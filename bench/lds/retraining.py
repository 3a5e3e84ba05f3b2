"""Really retraining the decoder on subsets of the pool: the truth that every score is judged by.

Each retraining is kept when it is done, so a run that was killed goes on.
"""

import copy
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from bench.lds.setting import Setting, bench_folder, key, write
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.passes import padded, sample_losses
from influcoder.influence.features.tokens import Tokens


@dataclass(frozen=True)
class Training:
    """How a retraining goes, and how many there are.

    Args:
        subsets: number of subsets, each of half the pool.
        seeds: retrainings of each subset; they differ in the order of the samples alone.
        epochs: passes over the subset.
        batch: samples of one step.
        learning_rate: AdamW's, reached after a tenth of the steps and falling to zero with the last one.
        seed: seed of the subsets.
    """

    subsets: int
    seeds: int
    epochs: int
    batch: int
    learning_rate: float
    seed: int = 0


def draw_subsets(candidates: int, training: Training) -> np.ndarray:
    """Subsets of half the pool, shape (subsets, candidates), true where a candidate is in.

    A longer list begins with the shorter one, so asking for more subsets keeps the retrainings that are done.
    """
    found = np.zeros((training.subsets, candidates), bool)
    for number, row in enumerate(found):
        chosen = np.random.default_rng([training.seed, number]).permutation(candidates)[: candidates // 2]
        row[chosen] = True
    return found


def retrained_losses(setting: Setting, training: Training) -> np.ndarray:
    """Each query's loss, in nats a target token, after retraining on each subset.

    Returns:
        losses, shape (seeds, queries, subsets).
    """
    pool, queries = setting.tokens(setting.candidates), setting.tokens(setting.queries)
    subsets = draw_subsets(len(pool), training)
    folder = _folder(setting, training)
    jobs = [(number, seed) for number in range(training.subsets) for seed in range(training.seeds)]
    losses = np.zeros((training.seeds, len(queries), training.subsets))
    with progress("retraining on subsets", len(jobs)) as ticker:
        for number, seed in jobs:
            path = folder / f"{number}-{seed}.npy"
            if not path.is_file():
                chosen = [pool[row] for row in np.flatnonzero(subsets[number])]
                found = losses_of(retrain(setting.decoder, chosen, training, seed), queries)
                write(path, lambda file, found=found: np.save(file, found))
            losses[seed, :, number] = np.load(path)
            ticker.advance()
    return losses


def retrain(decoder: Decoder, samples: Sequence[Tokens], training: Training, seed: int) -> Decoder:
    """A decoder trained on samples, every one of them once an epoch; the decoder given is not changed."""
    model = copy.deepcopy(decoder.model).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=0.0, fused=True)
    draw, batches = random.Random(seed), []
    for _ in range(training.epochs):
        order = draw.sample(range(len(samples)), len(samples))
        batches += [order[start : start + training.batch] for start in range(0, len(order), training.batch)]
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * _schedule(step, len(batches))
        loss = _losses(model, [samples[row] for row in batch]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Decoder(f"{decoder.uri} retrained", model.eval().requires_grad_(False), decoder.tokenizer)


def losses_of(decoder: Decoder, samples: Sequence[Tokens]) -> np.ndarray:
    """Each sample's mean loss over its target, shape (samples,)."""
    groups = [samples[start : start + 32] for start in range(0, len(samples), 32)]
    with torch.inference_mode():
        return np.concatenate([_losses(decoder.model, group).numpy() for group in groups])


def _losses(model: torch.nn.Module, batch: Sequence[Tokens]) -> torch.Tensor:
    ids, mask, labels = padded(batch, next(model.parameters()).device)
    return sample_losses(model(input_ids=ids, attention_mask=mask, use_cache=False).logits, labels, "mean")


def _schedule(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    return min((step + 1) / warm, (steps - step) / (steps - warm + 1))


def _folder(setting: Setting, training: Training) -> Path:
    facts = {name: value for name, value in asdict(training).items() if name not in ("subsets", "seeds")}
    samples = [sample.hash for sample in (*setting.candidates, *setting.queries)]
    parts = (setting.decoder.fingerprint, samples, len(setting.candidates), setting.max_tokens, facts)
    return bench_folder() / "retraining" / key(*parts)
