"""What the decoder makes of a sample on its way: mean hidden states, from a forward pass that stops where it may."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder, block_names
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.gradients import padded
from influcoder.influence.features.tokens import Tokens, tokenize
from influcoder.samples import Sample

Tensor = torch.Tensor


class _Enough(Exception):
    """The deepest block that is asked for has been passed."""


def mean_states(
    decoder: Decoder, pairs: Sequence[tuple[str, str]], max_tokens: int, depths: Sequence[float]
) -> np.ndarray:
    """Mean hidden states over the context's and over the target's tokens, behind some of the decoder's blocks.

    Args:
        decoder: the decoder; blocks behind the deepest that is asked for are not run.
        pairs: context and target of each sample.
        max_tokens: how many tokens of a sample the decoder sees, as in a label.
        depths: shares of the decoder's blocks, each over 0 and at most 1.
    Returns:
        shape (samples, 2 · depths · hidden size): for each depth the context's mean and the target's.
    Raises:
        SampleError: a target is blank.
        DecoderError: the decoder does not keep its blocks in one list.
    """
    tokens = [tokenize(decoder.tokenizer, Sample("", *pair), max_tokens) for pair in pairs]
    rows: list[np.ndarray] = [np.empty(0)] * len(pairs)

    def work(own: Decoder, batch: list[int]) -> np.ndarray:
        return _states(own, [tokens[row] for row in batch], depths)

    with progress("hidden states", len(pairs)) as ticker:
        for batch, found in in_batches([len(item) for item in tokens], *Batching().share(decoder, work)):
            for row, values in zip(batch, found, strict=True):
                rows[row] = values
            ticker.advance(len(batch))
    return np.stack(rows)


def blocks_of(decoder: Decoder, depths: Sequence[float]) -> list[str]:
    """Names of the blocks behind which states are taken; the first at least."""
    names = block_names(decoder.model)
    return [names[max(1, round(depth * len(names))) - 1] for depth in depths]


def _states(decoder: Decoder, batch: Sequence[Tokens], depths: Sequence[float]) -> np.ndarray:
    ids, mask, labels = padded(batch, decoder.model.device)
    target = (labels != -100).float()
    weights = torch.stack([mask.float() - target, target], dim=1)
    weights = weights / weights.sum(2, keepdim=True).clamp_min(1)
    wanted = blocks_of(decoder, depths)
    means: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        means[name] = torch.einsum("bst,bth->bsh", weights, states.float())
        if len(means) == len(set(wanted)):
            raise _Enough

    with torch.inference_mode(), ExitStack() as hooks:
        for name in dict.fromkeys(wanted):
            block = decoder.model.get_submodule(name)
            hooks.callback(block.register_forward_hook(lambda _block, _in, out, name=name: keep(name, out)).remove)
        try:
            decoder.model(input_ids=ids, attention_mask=mask, use_cache=False)
        except _Enough:
            pass
    return torch.stack([means[name] for name in wanted], dim=1).flatten(1).cpu().numpy()
