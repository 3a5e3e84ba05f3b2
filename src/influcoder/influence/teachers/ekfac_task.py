"""What kronfluence has to know of our samples: the loss on their targets. Imported late; it needs kronfluence."""

from collections.abc import Sequence
from typing import Any

import torch
from kronfluence.task import Task

from influcoder.influence.features.passes import padded, sample_losses
from influcoder.influence.features.projection import module_generator
from influcoder.influence.features.tokens import Tokens

Tensor = torch.Tensor
Batch = dict[str, Tensor]


class TargetLossTask(Task):
    """Each sample's own loss on its target tokens, summed over the batch so that samples stay apart.

    Args:
        layers: names of the linear layers that count.
        reduction: `mean` or `sum` over a sample's own target tokens.
    """

    def __init__(self, layers: list[str], reduction: str) -> None:
        self.layers = layers
        self.reduction = reduction

    def compute_train_loss(self, batch: Batch, model: Any, sample: bool = False) -> Tensor:
        """The candidates' loss; with `sample`, one whose squared gradient is the Fisher of that loss in expectation."""
        logits = self._logits(batch, model)
        if not sample:
            return sample_losses(logits, batch["labels"], self.reduction).sum()
        labels = drawn_labels(logits.detach(), batch["labels"], batch["uniforms"])
        losses = sample_losses(logits, labels, "sum")
        if self.reduction == "mean":
            # Labels are drawn apart, so squares add up: to have the mean of the tokens' Fishers, and not that over
            # their number once more, the sum goes by the root of the number.
            losses = losses / (labels != -100).sum(dim=1).sqrt()
        return losses.sum()

    def compute_measurement(self, batch: Batch, model: Any) -> Tensor:
        """The queries' loss."""
        return sample_losses(self._logits(batch, model), batch["labels"], self.reduction).sum()

    def get_influence_tracked_modules(self) -> list[str]:
        """Names of the layers that count."""
        return self.layers

    def get_attention_mask(self, batch: Batch) -> Tensor:
        """Where a sample has tokens; padding counts in no covariance."""
        return batch["mask"]

    def _logits(self, batch: Batch, model: Any) -> Tensor:
        logits: Tensor = model(input_ids=batch["ids"], attention_mask=batch["mask"], use_cache=False).logits
        return logits


def drawn_labels(logits: Tensor, labels: Tensor, uniforms: Tensor) -> Tensor:
    """Labels drawn from the decoder in the place of the targets, by inverting the distribution function.

    Args:
        logits: shape (samples, length, vocabulary).
        labels: -100 where there is no target, shape (samples, length).
        uniforms: a number between 0 and 1 for each place, same shape.
    """
    rows, columns = (labels != -100).nonzero(as_tuple=True)
    cumulated = logits[rows, columns - 1].double().softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(cumulated, uniforms[rows, columns][:, None]).squeeze(1)
    result = torch.full_like(labels, -100)
    result[rows, columns] = drawn.clamp(max=logits.shape[-1] - 1)
    return result


def collate(samples: Sequence[Tokens], seed: int) -> Batch:
    """A padded batch, with the random numbers that its labels may be drawn by: a function of each sample alone."""
    ids, mask, labels = padded(samples, torch.device("cpu"))
    uniforms = torch.zeros(labels.shape, dtype=torch.float64)
    for row, tokens in enumerate(samples):
        generator = module_generator(f"labels:{seed}:{tokens.target_start}:{tokens.ids}")
        uniforms[row, : len(tokens)] = torch.rand(len(tokens), generator=generator, dtype=torch.float64)
    return {"ids": ids, "mask": mask, "labels": labels, "uniforms": uniforms}
