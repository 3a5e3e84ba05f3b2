"""Whitening: a layer's inputs and output gradients, seen along the directions in which they vary most, each as much.

The gradient of a linear layer is a sum over tokens of δ ⊗ x. K-FAC (Martens and Grosse 2015, arXiv 1503.05671, section
3) takes its curvature to be C_δ ⊗ C_x, the second moments of both sides, so that an influence function is an inner
product of Σ (C_δ^-½ δ) ⊗ (C_x^-½ x). Here each side keeps its leading directions alone: projected at random (LoGra,
arXiv 2405.13954) as few dimensions would be noise. Second moments are taken of a fixed draw of samples, see `moments`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from influcoder.core.errors import IntegrityError
from influcoder.influence.features.placed import Placed, Tensors

Tensor = torch.Tensor
SIDES = ("inputs", "outputs")


@dataclass(frozen=True)
class Sides:
    """What one layer's tokens are seen through.

    Args:
        inputs: leading directions of the layer's inputs over their damped deviation, shape (rank, inputs).
        outputs: the same of the gradients of its outputs, shape (rank, outputs).
    """

    inputs: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class Whitening(Placed):
    """The sides of every layer of one decoder.

    Args:
        layers: sides by the layer's name.
        reference: hash of the samples whose second moments they come from.
    """

    layers: Mapping[str, Sides]
    reference: str

    def a(self, name: str, device: torch.device) -> Tensor:
        """What a layer's inputs are multiplied by, shape (rank, inputs)."""
        return self._on(name, device)[0]

    def outputs(self, name: str, device: torch.device) -> Tensor:
        """What the gradients of its outputs are multiplied by, shape (rank, outputs)."""
        return self._on(name, device)[1]

    @cached_property
    def places(self) -> Mapping[str, slice]:
        """Where the numbers of each layer stand in a feature."""
        found, start = {}, 0
        for name in sorted(self.layers):
            sides = self.layers[name]
            width = len(sides.inputs) * len(sides.outputs)
            found[name] = slice(start, start + width)
            start += width
        return found

    def to_bytes(self) -> bytes:
        """A safetensors file that `read_whitening` reads."""
        tensors = {
            f"{name}.{side}": getattr(sides, side).contiguous()
            for name, sides in sorted(self.layers.items())
            for side in SIDES
        }
        return bytes(save(tensors, metadata={"reference": self.reference}))

    def _on(self, name: str, device: torch.device) -> Tensors:
        sides = self.layers[name]
        return self.placed(name, device, lambda: (sides.inputs.to(device), sides.outputs.to(device)))


def read_whitening(data: bytes, reference: str) -> Whitening:
    """What `Whitening.to_bytes` wrote.

    Raises:
        IntegrityError: it is something else.
    """
    try:
        tensors = load(data)
        names = sorted({key.rpartition(".")[0] for key in tensors})
        layers = {name: Sides(*(tensors[f"{name}.{side}"] for side in SIDES)) for name in names}
    except (SafetensorError, KeyError, ValueError) as error:
        raise IntegrityError(f"what was kept of the whitening is damaged: {error}.") from error
    return Whitening(layers, reference)
