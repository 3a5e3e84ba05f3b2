"""One forward and one backward pass over a batch, with no gradient of a weight: hooks see what they came for."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from influcoder.decoder.checkpoint import block_names
from influcoder.influence.features.tokens import Tokens
from influcoder.settings.teacher import TeacherSpec

Tensor = torch.Tensor
Padded = tuple[Tensor, Tensor, Tensor]


def backward(model: Any, spec: TeacherSpec, batch: Sequence[Tokens], rows: Padded) -> Tensor:
    """One forward and one backward pass, with no gradient of a weight; hooks see what they came for.

    Args:
        model: the decoder's model, frozen.
        spec: says which layers are differentiated, and how a loss is reduced.
        batch: tokens of the samples.
        rows: the same, as `padded` gives them.
    Returns:
        each sample's own loss, shape (samples,).
    """
    ids, mask, labels = rows
    with torch.enable_grad(), _differentiable(model, spec.last_layers):
        logits = _target_logits(model, ids, mask, min(tokens.target_start for tokens in batch))
        losses = sample_losses(logits, labels[:, -logits.shape[1] :], spec.reduction)
        losses.sum().backward()
    return losses.detach().float()


def _target_logits(model: Any, ids: Tensor, mask: Tensor, first_target: int) -> Tensor:
    """Logits from the position that predicts the batch's first target token on; all, where a model gives no choice.

    No loss is taken on what comes before, and the head is a fifth of a small decoder's arithmetic. Positions are
    named one by one, since a slice is not contiguous, and its product with the head is slower.
    """
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        inputs["logits_to_keep"] = torch.arange(first_target - 1, ids.shape[1], device=ids.device)
    return model(**inputs).logits


def sample_losses(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    """Each sample's cross-entropy over its own target tokens.

    Args:
        logits: shape (samples, length, vocabulary).
        labels: token ids where a token is a target, -100 elsewhere, shape (samples, length).
        reduction: `mean` or `sum` over the target tokens of each sample.
    Returns:
        losses in nats, shape (samples,).
    """
    # The labels move, not the logits: a slice of the logits would copy the largest tensor of the pass.
    following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
    losses = cross_entropy(
        logits.float().flatten(0, 1), following.flatten(), reduction="none", ignore_index=-100
    ).view_as(labels)
    total = losses.sum(dim=1)
    return total / (following != -100).sum(dim=1) if reduction == "mean" else total


@contextmanager
def _differentiable(model: Any, last_layers: int) -> Iterator[None]:
    """With every weight frozen nothing would be differentiated; a hidden state starts the graph, and ends it."""
    if last_layers:
        first = model.get_submodule(block_names(model)[-last_layers:][0])
        hook = first.register_forward_pre_hook(_start_here, with_kwargs=True)
    else:
        hook = model.get_input_embeddings().register_forward_hook(lambda _m, _i, out: out.detach().requires_grad_(True))
    try:
        yield
    finally:
        hook.remove()


def _start_here(_block: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    if args:
        return (args[0].detach().requires_grad_(True), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": kwargs["hidden_states"].detach().requires_grad_(True)}


def padded(batch: Sequence[Tokens], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and labels (-100 where no loss is taken), each of shape (samples, longest)."""
    longest = max(len(tokens) for tokens in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, tokens in enumerate(batch):
        sequence = torch.tensor(tokens.ids)
        ids[row, : len(tokens)] = sequence
        mask[row, : len(tokens)] = 1
        labels[row, tokens.target_start : len(tokens)] = sequence[tokens.target_start :]
    return ids.to(device), mask.to(device), labels.to(device)
