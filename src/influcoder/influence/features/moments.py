"""Second moments of every layer's inputs and output gradients, and the directions in which they are largest.

Each is sketched (single-pass Nyström: Tropp et al. 2017, arXiv 1706.05736, algorithm 3), so that memory grows with a
layer's width and not with its square.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch

from influcoder.core.errors import SettingsError
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.passes import backward, padded
from influcoder.influence.features.projection import module_generator
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.features.whitening import SIDES, Sides, Whitening
from influcoder.samples import Sample
from influcoder.settings.teacher import TeacherSpec
from influcoder.storage.object_store import sha256

Tensor = torch.Tensor
# Directions of the sketch beyond those that are kept.
_MORE = 20
_OUTPUTS_FOR_INPUT = 4


def measure_whitening(
    decoder: Decoder, spec: TeacherSpec, samples: Sequence[Sample], batching: Batching, seed: int = 0
) -> Whitening:
    """What a whitened teacher sees the layers of a decoder through.

    Args:
        decoder: the decoder.
        spec: its layers, length limit, dimensions and damping.
        samples: a fixed draw, which its second moments are of.
        batching: how much is worked on at once.
        seed: of the sketches.
    Raises:
        SettingsError: the teacher has fewer dimensions than the decoder has layers.
    """
    names = list(linear_names(decoder.model, spec.last_layers))
    if spec.projection_dim < len(names):
        raise SettingsError(
            f"a whitened feature of {len(names)} layers does not fit into {spec.projection_dim} dimensions.",
            "Raise teacher.projection_dim; 32768 is its default.",
        )
    tokens = [tokenize(decoder.tokenizer, sample, spec.max_tokens) for sample in samples]
    rank = ranks(spec, len(names))
    total = Moments(rank, seed)

    def work(own: Decoder, batch: list[int]) -> Moments:
        chosen = [tokens[row] for row in batch]
        rows = padded(chosen, own.model.device)
        counted = Moments(rank, seed)
        with counted.counting(own.model, names, rows[1]):
            backward(own.model, spec, chosen, rows)
        return counted

    with progress("measuring second moments", len(samples)) as ticker:
        for batch, counted in in_batches([len(item) for item in tokens], *batching.share(decoder, work)):
            total.add(counted)
            ticker.advance(len(batch))
    return total.whitening(spec.damping, reference_hash(samples))


def reference_hash(samples: Sequence[Sample]) -> str:
    """What identifies the samples of second moments, in their order."""
    return sha256(" ".join(sample.hash for sample in samples).encode())


def ranks(spec: TeacherSpec, layers: int) -> tuple[int, int]:
    """Directions of inputs and of output gradients for each of so many layers, within the teacher's dimensions.

    Output gradients get about four times as many: measured by retraining, three to eight times did best, and as many
    on both sides lost a fortieth of the score (`docs/teachers.md`).
    """
    inputs = max(1, math.isqrt(spec.projection_dim // (_OUTPUTS_FOR_INPUT * layers)))
    return inputs, max(1, spec.projection_dim // (layers * inputs))


@lru_cache(maxsize=4096)
def _test(key: str, width: int, directions: int, device: torch.device) -> Tensor:
    """Random directions, shape (width, directions)."""
    return torch.randn(width, directions, generator=module_generator(f"whitening:{key}")).to(device)


@dataclass
class _Moment:
    """A sketch of one second moment.

    Args:
        test: random directions, shape (width, directions).
        image: the moment times these, summed over tokens, same shape.
        trace: the sum of all squares.
    """

    test: Tensor
    image: Tensor
    trace: Tensor

    @staticmethod
    def of(rows: Tensor, test: Tensor) -> "_Moment":
        """The sketch of some tokens, shape (tokens, width)."""
        return _Moment(test, rows.T @ (rows @ test), rows.square().sum())

    def plus(self, other: "_Moment") -> "_Moment":
        """The sketch of the tokens of both."""
        return _Moment(self.test, self.image + other.image, self.trace + other.trace)

    def leading(self, rank: int, tokens: int, damping: float) -> Tensor:
        """Leading directions over their damped deviation, shape (rank, width)."""
        image, test = self.image.double().cpu() / tokens, self.test.double().cpu()
        # A little of the identity keeps the Cholesky factor, and is taken off again.
        shift = 1e-7 * float(image.norm())
        image = image + shift * test
        core = test.T @ image
        factor = torch.linalg.cholesky((core + core.T) / 2 + 1e-12 * core.trace() * torch.eye(len(core)))
        half = torch.linalg.solve_triangular(factor, image.T, upper=False)
        _, deviations, directions = torch.linalg.svd(half, full_matrices=False)
        values = (deviations.square() - shift).clamp(min=0)[:rank]
        damped = values + damping * float(self.trace) / (tokens * len(test))
        return (directions[:rank] / damped.sqrt()[:, None]).float()


@dataclass
class Moments:
    """Sketches of the second moments of every layer's inputs and output gradients.

    Args:
        rank: directions that are to be kept, of inputs and of output gradients.
        seed: of the sketches.
        tokens: how many were counted.
    """

    rank: tuple[int, int]
    seed: int = 0
    tokens: int = 0
    _found: dict[tuple[str, str], _Moment] = field(default_factory=dict)

    @contextmanager
    def counting(self, model: Any, names: Sequence[str], mask: Tensor) -> Iterator[None]:
        """Count the tokens of one forward and one backward pass.

        Args:
            model: the decoder's model.
            names: of the layers.
            mask: 1 for a token and 0 for padding, shape (samples, longest).
        """
        real = mask.bool().flatten()
        self.tokens += int(real.sum())

        def hook(name: str) -> Any:
            def forward(_module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                self._count(name, "inputs", inputs[0].detach().flatten(0, -2)[real])
                output.register_hook(lambda delta: self._count(name, "outputs", delta.detach().flatten(0, -2)[real]))

            return forward

        hooks = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
        try:
            yield
        finally:
            for found in hooks:
                found.remove()

    def add(self, other: "Moments") -> None:
        """Count what another one counted."""
        self.tokens += other.tokens
        for place, moment in other._found.items():
            self._found[place] = self._found[place].plus(moment) if place in self._found else moment

    def whitening(self, damping: float, reference: str) -> Whitening:
        """What follows from all that was counted.

        Args:
            damping: relative to the mean eigenvalue of each second moment.
            reference: hash of the samples that were counted.
        """
        names = sorted({name for name, side in self._found if side == "outputs"})
        ranked = list(zip(SIDES, self.rank, strict=True))
        layers = {
            name: Sides(*(self._found[name, side].leading(rank, self.tokens, damping) for side, rank in ranked))
            for name in names
        }
        return Whitening(layers, reference)

    def _count(self, name: str, side: str, rows: Tensor) -> None:
        directions = min(rows.shape[1], self.rank[SIDES.index(side)] + _MORE)
        test = _test(f"{self.seed}:{side}:{name}", rows.shape[1], directions, rows.device)
        moment = _Moment.of(rows.float(), test)
        known = self._found.get((name, side))
        self._found[name, side] = known.plus(moment) if known else moment
