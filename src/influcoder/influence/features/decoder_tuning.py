"""Full fine-tuning of a decoder on samples: how a new checkpoint comes to be."""

import copy
import random
from collections.abc import Sequence

import torch

from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.passes import padded, sample_losses
from influcoder.influence.features.tokens import tokenize
from influcoder.samples import Sample


def fine_tune(
    decoder: Decoder,
    samples: Sequence[Sample],
    steps: int,
    batch: int,
    learning_rate: float,
    max_tokens: int,
    seed: int = 0,
) -> Decoder:
    """A new checkpoint: every weight trained with AdamW on the targets of samples; the decoder given is not changed.

    Args:
        decoder: where to start from.
        samples: what to train on; drawn with replacement.
        steps: optimiser steps.
        batch: samples a step.
        learning_rate: AdamW's, constant.
        max_tokens: length limit of a sample.
        seed: seed of the draw.
    """
    model = copy.deepcopy(decoder.model).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
    draw = random.Random(seed)
    with progress("fine-tuning the decoder", steps) as ticker:
        for _ in range(steps):
            tokens = [tokenize(decoder.tokenizer, sample, max_tokens) for sample in draw.choices(samples, k=batch)]
            ids, mask, labels = padded(tokens, model.device)
            loss = sample_losses(model(input_ids=ids, attention_mask=mask).logits, labels, "mean").mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ticker.advance(note=f"loss {loss.item():.2f}")
    return Decoder(f"{decoder.uri} fine-tuned", model.eval().requires_grad_(False), decoder.tokenizer)
