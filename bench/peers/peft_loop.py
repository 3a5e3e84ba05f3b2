"""The published method: a LoRA adapter, one backward pass a sample, the gradient of its B matrices whole."""

import copy

import numpy as np
import peft
import torch

from influcoder.influence.features.gradients import lora_a


def scores(decoder, tokens, queries) -> np.ndarray:
    """Cosines of the adapter's gradients."""
    found = np.stack([row / np.linalg.norm(row) for row in gradients(*adapter(decoder), tokens)])
    return found[:queries] @ found[queries:].T


def adapter(decoder) -> tuple[torch.nn.Module, list[torch.Tensor]]:
    """The decoder with an adapter, and the adapter's B matrices."""
    config = peft.LoraConfig(r=16, lora_alpha=16, lora_dropout=0, target_modules="all-linear", task_type="CAUSAL_LM")
    # The adapter is attached to shallow copies: the weights are shared, the modules are not.
    memo = {id(p): p for p in decoder.model.parameters()} | {id(b): b for b in decoder.model.buffers()}
    adapted = peft.get_peft_model(copy.deepcopy(decoder.model, memo), config)
    layers = {
        n.removeprefix("base_model.model."): m
        for n, m in adapted.named_modules()
        if isinstance(m, peft.tuners.lora.LoraLayer)
    }
    for name, layer in layers.items():
        weight = layer.lora_A["default"].weight
        weight.data = lora_a(name, weight.shape[1], 16, 0).to(weight)
    return adapted, [layers[name].lora_B["default"].weight for name in sorted(layers)]


def gradients(adapted, sides, tokens) -> list[np.ndarray]:
    """The gradient of all B matrices, a row a sample."""
    rows = []
    for item in tokens:
        ids = torch.tensor([item.ids], device=sides[0].device)
        labels = ids.clone()
        labels[:, : item.target_start] = -100
        gradient = torch.autograd.grad(adapted(input_ids=ids, labels=labels).loss, sides)
        rows.append(torch.cat([part.flatten() for part in gradient]).float().cpu().numpy())
    return rows
