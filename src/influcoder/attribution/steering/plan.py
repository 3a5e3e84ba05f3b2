"""Everything that a user chooses about steering a training."""

from dataclasses import dataclass, field

from influcoder.attribution.steering.trust import Limits
from influcoder.attribution.steering.weights import Weighting
from influcoder.core.errors import SettingsError
from influcoder.settings.teacher import TeacherSpec


@dataclass(frozen=True)
class Steering:
    """How a training is steered.

    Args:
        weighting: how estimates become weights; None only watches: agreement is logged, and samples are drawn as the
            Trainer draws them.
        limits: when estimates are no longer trusted, and what follows.
        check_every: optimiser steps between two measurements of agreement; 0 never measures.
        spot: how many queries and training samples are labelled exactly for each measurement.
        labels: training samples that are labelled exactly to solve for an encoder, where none is given and in a
            `relabel`.
        teacher: what exact influence is; a gradient cosine.
        seed: of all draws; the Trainer's data seed unless given.
    Raises:
        SettingsError: a value is out of its range.
    """

    weighting: Weighting | None = field(default_factory=Weighting)
    limits: Limits = field(default_factory=Limits)
    check_every: int = 100
    spot: tuple[int, int] = (16, 48)
    labels: int = 300
    teacher: TeacherSpec = field(default_factory=TeacherSpec)
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.check_every < 0 or self.labels < 1 or min(self.spot) < 1:
            raise SettingsError("a count of the steering is negative or zero.", "Only check_every may be 0.")
        if self.teacher.method != "gradient-cosine":
            raise SettingsError(
                f"the teacher {self.teacher.method!r} can't steer: it needs more than the decoder as it is.",
                "Use gradient-cosine.",
            )
