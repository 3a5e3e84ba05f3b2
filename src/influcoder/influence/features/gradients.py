"""Per-sample LoRA gradients without an adapter and without weight gradients.

With a fresh adapter B = 0, so the A side's gradient is zero and the B side's is δᵀ(xAᵀ), where x is a
linear layer's input and δ the loss's gradient with respect to its output (LoRA, arXiv 2106.09685,
section 4.1; the gradient of B by the chain rule). Hooks take both from one forward and one backward pass
over a batch; each sample's own loss makes the rows of δ independent of the rest of the batch.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.influence.features.adam import AdamState
from influcoder.influence.features.passes import backward, padded
from influcoder.influence.features.projection import CountSketch, module_generator
from influcoder.influence.features.tokens import Tokens
from influcoder.influence.features.whitening import Whitening
from influcoder.settings.teacher import TeacherSpec

Tensor = torch.Tensor
# What is known before the first feature: an optimiser's state for LESS, second moments for a whitened teacher.
State = AdamState | Whitening


@dataclass(frozen=True)
class Features:
    """Influence features of a batch.

    Args:
        vectors: unit vectors, shape (samples, dimensions), float32; a zero row where the gradient is zero. With an
            optimiser state, the unit vector of Adam's step follows in the same row, which is twice as long.
        norms: length of each gradient after projection, shape (samples,).
        losses: each sample's own loss in nats, reduced as the teacher says, shape (samples,).
    """

    vectors: np.ndarray
    norms: np.ndarray
    losses: np.ndarray


def extract_features(
    decoder: Decoder, spec: TeacherSpec, batch: Sequence[Tokens], state: State | None = None
) -> Features:
    """Influence features of samples that fit into memory together.

    Args:
        decoder: the model, frozen.
        spec: adapter, projection and loss reduction.
        batch: tokens of the samples; they are padded to the longest.
        state: the optimiser state that LESS preconditions with, whose A matrices are the adapter's then; or what a
            whitened teacher sees layers through.
    Returns:
        the features in the order of the batch; a row does not depend on what else is in the batch.
    """
    return extract_views(decoder, [(spec, state)], batch)[0]


def extract_views(
    decoder: Decoder, views: Sequence[tuple[TeacherSpec, State | None]], batch: Sequence[Tokens]
) -> list[Features]:
    """Influence features under several adapters, projections and states, from one forward and one backward pass.

    Args:
        decoder: the model, frozen.
        views: specifications with their states; they may differ in adapter, projection and storage alone.
        batch: tokens of the samples; they are padded to the longest.
    Returns:
        features for each view, in the order of the batch.
    """
    collectors = [_FeatureRows(decoder.model, spec, len(batch), state) for spec, state in views]
    with ExitStack() as hooks:
        for collector in collectors:
            hooks.enter_context(collector.collecting(decoder.model))
        losses = backward(decoder.model, views[0][0], batch, padded(batch, decoder.model.device))
    return [_features(collector.gathered(), losses) for collector in collectors]


def _features(parts: list[Tensor], losses: Tensor) -> Features:
    # One transfer for all: on a GPU each one waits for the whole batch.
    columns = torch.cat([*parts, losses[:, None]], dim=1).cpu().numpy()
    ends = np.cumsum([part.shape[1] for part in parts])
    blocks = np.split(columns[:, :-1], ends[:-1], axis=1)
    norms = [np.linalg.norm(block, axis=1) for block in blocks]
    unit = [block / np.where(norm > 0, norm, 1)[:, None] for block, norm in zip(blocks, norms, strict=True)]
    return Features(np.concatenate(unit, axis=1), norms[0], columns[:, -1])


def lora_a(name: str, in_features: int, rank: int, seed: int) -> Tensor:
    """The A matrix of one layer's adapter, shape (rank, in_features), drawn as peft draws it.

    Kaiming-uniform with a = √5, that is uniform within ±1/√in_features. The generator is seeded by the
    layer's name, so the matrix does not depend on which other layers carry an adapter.
    """
    bound = 1 / math.sqrt(in_features)
    generator = module_generator(f"lora:{seed}:{name}")
    return torch.empty(rank, in_features).uniform_(-bound, bound, generator=generator)


class _FeatureRows:
    """Collects each layer's gradient into one projected row a sample, while the backward pass runs."""

    def __init__(self, model: torch.nn.Module, spec: TeacherSpec, samples: int, state: State | None) -> None:
        self._spec = spec
        self._samples = samples
        self._state = state
        self._whole: list[dict[str, Tensor]] = [{} for _ in range(2 if isinstance(state, AdamState) else 1)]
        device = next(model.parameters()).device
        self._sketches = [torch.zeros(samples, spec.projection_dim, device=device) for _ in self._whole]

    @contextmanager
    def collecting(self, model: Any) -> Iterator[None]:
        names = linear_names(model, self._spec.last_layers)
        if isinstance(self._state, Whitening):
            names = (name for name in names if name in self._state.layers)
        hooks = [model.get_submodule(name).register_forward_hook(self._forward_hook(name)) for name in names]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def gathered(self) -> list[Tensor]:
        """The gradient's part, and after it Adam's step where there is an optimiser state."""
        if self._spec.projection_dim:
            return self._sketches
        return [torch.cat([whole[name] for name in sorted(whole)], dim=1) for whole in self._whole]

    def _forward_hook(self, name: str) -> Any:
        def hook(_module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0].detach()
            a = self._a(name, x)
            low = (x.float() @ a.T).view(self._samples, -1, len(a))
            output.register_hook(lambda delta: self._take(name, low, delta.detach()))

        return hook

    def _a(self, name: str, x: Tensor) -> Tensor:
        if self._state is not None:
            return self._state.a(name, x.device)
        return _cached_lora_a(name, x.shape[-1], self._spec.rank, self._spec.adapter_seed, x.device)

    def _take(self, name: str, low: Tensor, delta: Tensor) -> None:
        delta = delta.float().view(self._samples, -1, delta.shape[-1])
        if isinstance(self._state, Whitening):
            seen = delta @ self._state.outputs(name, delta.device).T
            # Added, since shared layers are run more than once.
            self._sketches[0][:, self._state.places[name]] += torch.bmm(seen.transpose(1, 2), low).flatten(1)
            return
        gradient = torch.bmm(delta.transpose(1, 2), low).flatten(1)
        self._add(0, name, gradient)
        if self._state is not None:
            self._add(1, name, self._state.direction(name, gradient))

    def _add(self, part: int, name: str, rows: Tensor) -> None:
        if not self._spec.projection_dim:
            self._whole[part][name] = self._whole[part].get(name, 0) + rows
            return
        key = f"{self._spec.projection_seed}:{name}"
        sketch = CountSketch.cached(key, rows.shape[1], self._spec.projection_dim, rows.device)
        sketch.add(rows, self._sketches[part])


_LORA_A: dict[tuple[Any, ...], Tensor] = {}


def _cached_lora_a(name: str, width: int, rank: int, seed: int, device: torch.device) -> Tensor:
    key = (name, width, rank, seed, device)
    if key not in _LORA_A:
        _LORA_A[key] = lora_a(name, width, rank, seed).to(device)
    return _LORA_A[key]
