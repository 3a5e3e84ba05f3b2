"""A short LoRA training for the sake of its optimiser: LESS preconditions with what Adam has seen."""

import random
from collections.abc import Sequence
from typing import Any

import torch

from influcoder.core.errors import MissingPackageError
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.influence.features.adam import AdamState, Moments
from influcoder.influence.features.gradients import lora_a
from influcoder.influence.features.passes import padded, sample_losses
from influcoder.influence.features.tokens import tokenize
from influcoder.samples import Sample
from influcoder.settings.teacher import TeacherSpec


def warm_up(
    decoder: Decoder,
    spec: TeacherSpec,
    samples: Sequence[Sample],
    steps: int = 50,
    batch: int = 4,
    learning_rate: float = 2e-4,
    seed: int = 0,
) -> AdamState:
    """The state of AdamW after some steps on the B matrices of a teacher's adapter; the decoder is not changed.

    The warm-up of LESS (Xia et al. 2024, arXiv 2402.04333, section 3.1), with the adapter that the teacher looks
    through: A is drawn by its seed and frozen. Gradients are taken on the decoder as it is, not as warmed up.

    Args:
        decoder: the decoder.
        spec: the teacher; its rank, adapter seed, layers, length limit and loss count.
        samples: what to train on; drawn with replacement.
        steps: optimiser steps.
        batch: samples a step.
        learning_rate: AdamW's, constant.
        seed: seed of the draw.
    Raises:
        MissingPackageError: peft is not installed.
    """
    adapted, layers = _adapted(decoder, spec)
    optimizer = torch.optim.AdamW([layer.lora_B["w"].weight for layer in layers.values()], lr=learning_rate)
    draw = random.Random(seed)
    with progress("warming up Adam", steps) as ticker:
        for _ in range(steps):
            tokens = [tokenize(decoder.tokenizer, s, spec.max_tokens) for s in draw.choices(samples, k=batch)]
            ids, mask, labels = padded(tokens, decoder.model.device)
            logits = adapted(input_ids=ids, attention_mask=mask, use_cache=False).logits
            loss = sample_losses(logits, labels, spec.reduction).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ticker.advance(note=f"loss {loss.item():.2f}")
    group = optimizer.param_groups[0]
    moments = {name: _moments(layer, optimizer) for name, layer in layers.items()}
    beta1, beta2 = group["betas"]
    return AdamState(moments, steps, beta1, beta2, group["eps"])


def _adapted(decoder: Decoder, spec: TeacherSpec) -> tuple[torch.nn.Module, dict[str, Any]]:
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError("a warm-up needs peft.", "Install it: pip install 'influcoder[less]'") from error
    names = list(linear_names(decoder.model, spec.last_layers))
    config = peft.LoraConfig(r=spec.rank, lora_alpha=spec.rank, lora_dropout=0.0, target_modules=names)
    adapted = peft.get_peft_model(decoder.twin().model, config, adapter_name="w")
    prefix = "base_model.model."
    layers: dict[str, Any] = {name: adapted.get_submodule(f"{prefix}{name}") for name in names}
    for name, layer in layers.items():
        weight = layer.lora_A["w"].weight
        weight.data.copy_(lora_a(name, weight.shape[1], spec.rank, spec.adapter_seed))
        weight.requires_grad_(False)
    return adapted.eval(), layers


def _moments(layer: Any, optimizer: torch.optim.Optimizer) -> Moments:
    state = optimizer.state[layer.lora_B["w"].weight]
    return Moments(layer.lora_A["w"].weight.detach(), state["exp_avg"], state["exp_avg_sq"])
