"""The published method: a LoRA adapter, one backward pass a sample, the gradient of its B matrices whole."""

import copy

import numpy as np
import peft
import torch

from influcoder.influence.features.gradients import lora_a


def scores(decoder, tokens, queries) -> np.ndarray:
    """Cosines of the adapter's gradients."""
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
        layer.lora_A["default"].weight.data = lora_a(name, layer.lora_A["default"].weight.shape[1], 16, 0)
    sides = [layers[name].lora_B["default"].weight for name in sorted(layers)]
    rows = []
    for item in tokens:
        ids = torch.tensor([item.ids])
        labels = ids.clone()
        labels[:, : item.target_start] = -100
        gradient = torch.autograd.grad(adapted(input_ids=ids, labels=labels).loss, sides)
        row = torch.cat([part.flatten() for part in gradient]).numpy()
        rows.append(row / np.linalg.norm(row))
    found = np.stack(rows)
    return found[:queries] @ found[queries:].T
