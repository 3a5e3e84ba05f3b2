"""The decoder as it is in the middle of its training, for measuring: nothing of the training is touched."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from influcoder.decoder.checkpoint import Decoder


def decoder_now(model: Any, tokenizer: Any) -> Decoder:
    """A frozen decoder in evaluation mode over the weights that a model has now.

    Its modules are copies and its parameters views of the model's, so gradients, hooks, mode and `requires_grad` of the
    model stay as they are, and memory grows by no weights. The layers that a peft adapter wraps are copied, and the
    adapter is merged into the copies: the decoder has the layers, and the names of layers, that it had without adapter.

    Args:
        model: a causal language model of transformers, or a peft model around one.
        tokenizer: its tokenizer.
    """
    copied = {id(parameter): parameter for parameter in _wrapped(model)}
    shared: dict[int, Any] = {}
    for parameter in model.parameters():
        data = parameter.detach()
        data = data.clone() if id(parameter) in copied else data
        shared[id(parameter)] = torch.nn.Parameter(data, requires_grad=False)
    shared |= {id(buffer): buffer.detach() for buffer in model.buffers()}
    frozen = copy.deepcopy(model, shared)
    # Mixed precision wraps the method of the one module that is trained; labels are of the weights' own precision.
    frozen.__dict__.pop("forward", None)
    if hasattr(frozen, "merge_and_unload"):
        frozen = frozen.merge_and_unload()
    return Decoder("decoder in training", frozen.eval(), tokenizer)


def _wrapped(model: Any) -> Iterator[torch.nn.Parameter]:
    """Parameters of the layers that a peft adapter is merged into."""
    if not hasattr(model, "merge_and_unload"):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            layer: Any = module
            yield from layer.parameters()


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Random states of torch, numpy and Python are afterwards what they were before."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
