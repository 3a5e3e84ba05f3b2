"""A sampler whose weights may change while somebody draws from it, and which draws the same again after a restart."""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from influcoder.core.errors import ShapeError

Array = np.ndarray


@dataclass(frozen=True)
class Segment:
    """Weights, and from where on they hold.

    Args:
        epoch: the epoch in which they were given.
        start: number of the draw of that epoch that is the first under them.
        weights: probabilities, shape (samples,), float32; None where all samples are drawn alike.
    """

    epoch: int
    start: int
    weights: Array | None = None


class InfluenceSampler(Sampler[int]):
    """Row numbers of a data set, drawn by weights that may be changed at any time.

    What remains of an epoch when weights are given is laid out at once: a sample of weight p stands p times the
    number of draws in it, rounded up or down at random (systematic resampling, Kitagawa 1996), in random order. So each
    draw has the weights as its probabilities, rare samples are not left to luck, and under even weights an epoch shows
    each sample once, as shuffling does. The layout follows from the seed, the epoch, the draw and the weights: the same
    draws come again whenever a run is resumed, and no random state of the process is touched.

    Args:
        rows: the data set, or its length.
        seed: of the draws.
        weights: probabilities to begin with, shape (rows,); all alike unless given.
    Raises:
        ShapeError: there is no row, or the weights are no probabilities of so many rows.
    """

    def __init__(self, rows: Sized | int, seed: int, weights: Array | None = None) -> None:
        self._size = rows if isinstance(rows, int) else len(rows)
        if self._size < 1:
            raise ShapeError("there is no row to draw.", "Give a data set that is not empty.")
        self.seed = seed
        self.epoch = 0
        self._next = 0
        self._laid: tuple[Segment, int, Array] | None = None
        self._segments = [Segment(0, 0, self._checked(weights))]

    def __len__(self) -> int:
        """Draws in an epoch: as many as there are rows, whatever the weights."""
        return self._size

    def __iter__(self) -> Iterator[int]:
        epoch, self._next = self.epoch, 0
        for draw in range(self._size):
            self._next = draw + 1
            yield self._row(epoch, draw)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins; the Trainer does."""
        if epoch != self.epoch:
            self.epoch, self._next = epoch, 0

    @property
    def weights(self) -> Array:
        """Probabilities that hold for what is laid out last, shape (rows,)."""
        found = self._segments[-1].weights
        return np.full(self._size, 1 / self._size) if found is None else _normalised(found)

    def refresh(self, weights: Array | None, used: int = 0) -> bool:
        """Draw by other weights from the next draw on.

        A data loader draws ahead of the training (one batch, or what its workers prefetch), and what was drawn stays.

        Args:
            weights: probabilities, shape (rows,); None draws all rows alike.
            used: how many draws of this epoch have been trained on; what holds for earlier ones alone is forgotten.
        Returns:
            whether they differ from those that held.
        Raises:
            ShapeError: they are no probabilities of so many rows; those that held go on to hold.
        """
        given = self._checked(weights)
        held = self._segments[-1].weights
        if (given is None and held is None) or (given is not None and held is not None and np.array_equal(given, held)):
            return False
        kept = [part for part in self._segments if (part.epoch, part.start) < (self.epoch, self._next)]
        needed = [n for n, part in enumerate(kept) if (part.epoch, part.start) <= (self.epoch, used)]
        self._segments = [*kept[needed[-1] if needed else 0 :], Segment(self.epoch, self._next, given)]
        return True

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What has to be kept so that a resumed run draws the same."""
        return tuple(self._segments)

    def restore(self, segments: Sequence[Segment]) -> None:
        """Go on as a sampler did that had these segments, from the start of the epoch that is said next.

        Raises:
            ShapeError: they are of another number of rows.
        """
        self._segments = [Segment(part.epoch, part.start, self._checked(part.weights)) for part in segments]
        self.epoch = self._next = 0

    def _row(self, epoch: int, draw: int) -> int:
        part = next((s for s in reversed(self._segments) if (s.epoch, s.start) <= (epoch, draw)), self._segments[0])
        # What was given in an earlier epoch holds from the first draw of this one on.
        start = part.start if part.epoch == epoch else 0
        if self._laid is None or self._laid[0] is not part or self._laid[1] != epoch:
            self._laid = part, epoch, self._layout(part.weights, epoch, start)
        return int(self._laid[2][draw - start])

    def _layout(self, weights: Array | None, epoch: int, start: int) -> Array:
        left, generator = self._size - start, np.random.default_rng((self.seed, epoch, start))
        shares = np.full(self._size, 1 / self._size) if weights is None else _normalised(weights)
        # Rows of weight 0 are left out, so that no rounding gives them a draw; the order keeps neighbours independent.
        order = generator.permutation(np.flatnonzero(shares))
        ends = np.floor(np.cumsum(shares[order] * left) + generator.random()).clip(max=left)
        ends[-1] = left
        return generator.permutation(np.repeat(order, np.diff(ends, prepend=0.0).astype(int)))

    def _checked(self, weights: Array | None) -> Array | None:
        if weights is None:
            return None
        given = np.asarray(weights, np.float32)
        if given.shape != (self._size,):
            raise ShapeError(f"weights of shape {given.shape} for {self._size} rows.", "Give one for each row.")
        if not np.isfinite(given).all() or (given < 0).any() or not given.sum() > 0:
            raise ShapeError("weights are no probabilities.", "Give finite numbers, none negative, not all zero.")
        return given


def _normalised(weights: Array) -> Array:
    values = weights.astype(np.float64)
    return values / values.sum()
