"""Precision and recall of every threshold on labelled samples, and which one is wanted."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve

from influcoder.core.errors import SettingsError

Array = np.ndarray


@dataclass(frozen=True)
class Aim:
    """What a threshold is chosen for on labelled samples: the best F1 unless one of the others is wanted.

    Args:
        precision: the share of what is dropped that is harmful, at least; then as much recall as that leaves.
        recall: the share of what is harmful that is dropped, at least; then the highest threshold that does it.
    Raises:
        SettingsError: both are given, or one is no share.
    """

    precision: float | None = None
    recall: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.precision, self.recall) if value is not None]
        if len(given) > 1:
            raise SettingsError("--precision and --recall exclude each other.", "Give one of them.")
        if any(not 0 < value <= 1 for value in given):
            raise SettingsError("a wanted precision or recall is a share.", "Give a number over 0 and at most 1.")

    def __str__(self) -> str:
        if self.precision is not None:
            return f"precision of at least {self.precision:g}"
        return "best F1" if self.recall is None else f"recall of at least {self.recall:g}"


@dataclass(frozen=True)
class Curve:
    """Precision and recall at every threshold that makes a difference, the highest first.

    Args:
        scores: the distinct scores, falling.
        precision: of dropping everything that scores so much or more.
        recall: likewise.
    """

    scores: Array
    precision: Array
    recall: Array

    @staticmethod
    def of(scores: Array, labels: Array) -> "Curve":
        """The curve of labelled samples; there is a harmful one."""
        precision, recall, thresholds = precision_recall_curve(labels, scores)
        # Its last point drops nothing, and is that of no threshold.
        return Curve(thresholds[::-1], precision[-2::-1], recall[-2::-1])

    @property
    def average_precision(self) -> float:
        """The mean of precision over the steps of recall, which is what AUPRC means here."""
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())

    def best(self, aim: Aim) -> int | None:
        """The place that an aim prefers, the highest of equal ones; None where none will do."""
        if aim.precision is not None:
            fit = np.flatnonzero(self.precision >= aim.precision - 1e-12)
            return int(fit[np.argmax(self.recall[fit])]) if len(fit) else None
        if aim.recall is not None:
            return int(np.flatnonzero(self.recall >= aim.recall - 1e-12)[0])
        return int(np.argmax(2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)))

    def threshold(self, place: int) -> float:
        """Half-way to the next lower score, since scores of other samples lie between."""
        own, lower = float(self.scores[place]), float(self.scores[min(place + 1, len(self.scores) - 1)])
        # Between neighbouring floating-point numbers there is no half-way.
        return middle if (middle := (own + lower) / 2) > lower else own
