"""What a distillation gave, whatever way it went."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from influcoder.encoder.model import Encoder

Say = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Args:
        number: 1 for the first; 0 is the encoder before training.
        loss: mean training loss, NaN for epoch 0.
        rho: mean per-query ρ on the selection split.
    """

    number: int
    loss: float
    rho: float


@dataclass(frozen=True)
class Attempt:
    """One choice of a closed form.

    Args:
        bandwidth: what a squared distance is multiplied with.
        penalty: of the ridge.
        left_out: mean per-query ρ on the training labels, each sample's coordinates predicted from all the others.
    """

    bandwidth: float
    penalty: float
    left_out: float


@dataclass(frozen=True)
class Distilled:
    """A trained encoder.

    Args:
        encoder: with the weights that were kept.
        start: where training began, in words.
        how: what was kept and why, half a sentence.
        selection: mean per-query ρ on the selection split.
        history: every epoch of fine-tuning, number 0 first.
        best: number of the epoch that was kept.
        attempts: every choice of a closed form, the one that was kept first.
    """

    encoder: Encoder
    start: str
    how: str
    selection: float
    history: tuple[Epoch, ...] = ()
    best: int = 0
    attempts: tuple[Attempt, ...] = ()
