"""A decoder with the same weights in another floating-point type, or with the rounding of one."""

import copy
from typing import Any

import torch

from influcoder.decoder.checkpoint import Decoder


def in_dtype(decoder: Decoder, dtype: str) -> Decoder:
    """The same decoder with weights of another type; buffers stay as they are, as when it is loaded in that type."""
    weights = {
        id(weight): torch.nn.Parameter(weight.detach().to(getattr(torch, dtype)), requires_grad=False)
        for weight in decoder.model.parameters()
    }
    shared = {id(buffer): buffer for buffer in decoder.model.buffers()}
    return Decoder(decoder.uri, copy.deepcopy(decoder.model, {**weights, **shared}), decoder.tokenizer)


def rounded_to_bfloat16(decoder: Decoder) -> Decoder:
    """The same decoder computing in float32, with what a bfloat16 decoder would keep rounded to bfloat16.

    Weights are, and whatever a module gives to the next: hidden states on the way forward, their gradients on the way
    back. Sums inside a module stay in float32, as bfloat16 hardware has them, but so does what attention and residual
    connections keep between modules, so this is less than bfloat16 does: on SmolLM2-135M the cosines of four samples
    moved by 0.0027 (root mean square; at most 0.0044) where bfloat16 itself moved them by 0.0038 (0.0060), and rounded
    weights alone by 0.0008 (0.0015). It costs a tenth more than float32; bfloat16 itself, on a CPU without hardware
    for it, 29 times as much.
    """
    twin = in_dtype(in_dtype(decoder, "bfloat16"), "float32")
    for module in twin.model.modules():
        module.register_forward_hook(_round_outputs)
    return twin


def _round_outputs(_module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return _rounded(output)
    # A model's own output is a mapping, which holds what was rounded already.
    return tuple(_rounded(part) for part in output) if type(output) is tuple else output


def _rounded(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
        return value
    # Autograd rounds the gradient on its way back through the same two conversions.
    return value.to(torch.bfloat16).to(torch.float32)
