"""CountSketch: a sparse random projection that keeps inner products in expectation.

Charikar, Chen and Farach-Colton, "Finding frequent items in data streams" (2002); as a projection,
Weinberger et al., "Feature hashing for large scale multitask learning" (2009), section 2.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch


def module_generator(key: str) -> torch.Generator:
    """A generator whose stream is fixed by a text, on every machine."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class CountSketch:
    """Each input coordinate is added to one random output coordinate, with a random sign.

    Args:
        buckets: output coordinate of each input coordinate, shape (inputs,).
        signs: -1 or 1, shape (inputs,).
    """

    buckets: torch.Tensor
    signs: torch.Tensor

    @staticmethod
    def of(key: str, inputs: int, outputs: int, device: torch.device) -> "CountSketch":
        """The sketch that a key stands for."""
        generator = module_generator(f"sketch:{key}")
        buckets = torch.randint(outputs, (inputs,), generator=generator)
        signs = torch.randint(2, (inputs,), generator=generator, dtype=torch.int8) * 2 - 1
        return CountSketch(buckets.to(device), signs.to(device))

    @staticmethod
    @lru_cache(maxsize=4096)
    def cached(key: str, inputs: int, outputs: int, device: torch.device) -> "CountSketch":
        """`of`, kept for the next batch."""
        return CountSketch.of(key, inputs, outputs, device)

    def add(self, rows: torch.Tensor, into: torch.Tensor) -> None:
        """Add the sketch of each row of `rows`, shape (samples, inputs), to `into`, shape (samples, outputs)."""
        into.scatter_add_(1, self.buckets.expand(rows.shape[0], -1), rows * self.signs)
