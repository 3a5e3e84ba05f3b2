"""The reference: every sample's whole gradient on the weights of all linear layers, by autograd, one at a time."""

import numpy as np
import torch

from influcoder.decoder.checkpoint import linear_names


def gram(decoder, tokens) -> np.ndarray:
    """Dot products of the gradients of all samples, shape (samples, samples)."""
    weights = [decoder.model.get_submodule(name).weight for name in linear_names(decoder.model)]
    for weight in weights:
        weight.requires_grad_(True)
    rows = []
    for item in tokens:
        ids = torch.tensor([item.ids])
        labels = ids.clone()
        labels[:, : item.target_start] = -100
        gradient = torch.autograd.grad(decoder.model(input_ids=ids, labels=labels).loss, weights)
        rows.append(torch.cat([part.flatten() for part in gradient]))
    found = [[float(left @ right) for right in rows] for left in rows]
    return np.array(found)


def scores(decoder, tokens, queries) -> np.ndarray:
    """Dot products of queries and candidates."""
    return gram(decoder, tokens)[:queries, queries:]
