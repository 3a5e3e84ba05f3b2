"""A decoder whose weights are others."""

from pathlib import Path

import torch

from influcoder.decoder.load import load_decoder


def moved(source: Path, target: Path) -> Path:
    """The same architecture and tokenizer with other weights, in a folder, which may be the same one."""
    decoder = load_decoder(str(source))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for tensor in decoder.model.parameters():
            tensor.data = tensor.data + 2.0 * tensor.data.std() * torch.randn_like(tensor.data)
    return decoder.save(target)
