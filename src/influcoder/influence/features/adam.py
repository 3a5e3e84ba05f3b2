"""The direction in which Adam would move on one sample: what LESS compares a query's gradient with."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from influcoder.core.errors import OptimizerStateError
from influcoder.core.files import write_whole
from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.influence.features.placed import Placed, Tensors
from influcoder.settings.teacher import TeacherSpec

Tensor = torch.Tensor
_HINT = "Make one with: influcoder warm-up --out FILE"
_PARTS = ("a", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Moments:
    """What the optimiser knows of one layer's adapter.

    Args:
        a: the adapter's A matrix, shape (rank, inputs).
        exp_avg: first moment of B's gradient, shape (outputs, rank).
        exp_avg_sq: its second moment, same shape.
    """

    a: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


@dataclass(frozen=True)
class AdamState(Placed):
    """State of Adam over the B matrices of a LoRA adapter.

    Args:
        layers: moments by the name of the decoder's layer.
        step: steps taken so far.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: added to the root of the second moment.
    """

    layers: Mapping[str, Moments]
    step: int
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def direction(self, name: str, gradient: Tensor) -> Tensor:
        """Adam's step on one sample's gradient, without the learning rate.

        Γ = m̂ / (√v̂ + ε) with the moments of the next step (LESS, Xia et al. 2024, arXiv 2402.04333, section 2.2).

        Args:
            name: the layer.
            gradient: of B, a row a sample, shape (samples, outputs · rank).
        Returns:
            the same shape.
        """
        _, exp_avg, exp_avg_sq = self._on(name, gradient.device)
        first = self.beta1 * exp_avg + (1 - self.beta1) * gradient
        second = self.beta2 * exp_avg_sq + (1 - self.beta2) * gradient.square()
        step = self.step + 1
        first, second = first / (1 - self.beta1**step), second / (1 - self.beta2**step)
        return first / (second.sqrt() + self.eps)

    def a(self, name: str, device: torch.device) -> Tensor:
        """The A matrix that the moments belong to."""
        return self._on(name, device)[0]

    def _on(self, name: str, device: torch.device) -> Tensors:
        """A layer's A matrix and its moments, these as rows."""

        def send() -> Tensors:
            a, first, second = (getattr(self.layers[name], part).to(device, torch.float32) for part in _PARTS)
            return a, first.flatten(), second.flatten()

        return self.placed(name, device, send)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self._bytes).hexdigest()

    @cached_property
    def _bytes(self) -> bytes:
        tensors = {
            f"{name}.{part}": getattr(layer, part).detach().float().cpu().contiguous()
            for name, layer in self.layers.items()
            for part in _PARTS
        }
        numbers = {"step": self.step, "beta1": self.beta1, "beta2": self.beta2, "eps": self.eps}
        return bytes(save(tensors, metadata={"adam": json.dumps(numbers, sort_keys=True)}))

    def save(self, path: Path) -> Path:
        """Write a safetensors file that `load_state` reads; a file that is there is replaced at once or not at all."""
        write_whole(path, self._bytes)
        return path

    def check(self, decoder: Decoder, spec: TeacherSpec) -> None:
        """Hold the state against the layers that a teacher looks at.

        Raises:
            OptimizerStateError: a layer is missing, the adapter has another rank, or layers have other shapes.
        """
        for name in linear_names(decoder.model, spec.last_layers):
            if name not in self.layers:
                raise OptimizerStateError(f"the optimiser state lacks layer {name!r}.", _HINT)
            weight, layer = decoder.model.get_submodule(name).weight, self.layers[name]
            found = (layer.a.shape[0], {layer.a.shape[1], layer.exp_avg.shape[0]})
            if found != (spec.rank, set(weight.shape)):
                raise OptimizerStateError(
                    f"the optimiser state has rank {found[0]} and sides {sorted(found[1])} for layer {name!r}; the "
                    f"teacher's rank is {spec.rank}, the decoder's weight {tuple(weight.shape)}.",
                    "Set teacher.rank to the adapter's, or name the state of this decoder.",
                )


def load_state(path: Path) -> AdamState:
    """Read a state that `AdamState.save` wrote.

    Raises:
        OptimizerStateError: there is no such file, or it is no optimiser state.
    """
    try:
        with safe_open(str(path), "pt") as file:
            numbers = json.loads((file.metadata() or {})["adam"])
            names = sorted({key.rpartition(".")[0] for key in file.keys()})  # noqa: SIM118 - no mapping
            layers = {n: Moments(*(file.get_tensor(f"{n}.{part}") for part in _PARTS)) for n in names}
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise OptimizerStateError(f"{path} is no optimiser state: {error}.", _HINT) from error
    return AdamState(layers, **numbers)
