"""Features of many samples in a file instead of in memory: the memory that is used does not grow with them."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_CHUNK_NUMBERS = 16_000_000


def on_disk(rows: int, width: int, dtype: Any) -> np.ndarray:
    """An array of zeros, shape (rows, width), in a temporary file that vanishes with its last use.

    Raises:
        OSError: the disk has no room for it; said here, since a full disk found later kills the process.
    """
    if rows * width == 0:
        return np.zeros((rows, width), dtype)
    with tempfile.TemporaryFile(prefix="influcoder-features-") as file:
        os.posix_fallocate(file.fileno(), 0, rows * width * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, "r+", shape=(rows, width))


@dataclass(frozen=True)
class Rows:
    """Some rows of an array, read when they are asked for.

    Args:
        source: the array, shape (samples, width).
        numbers: the rows, in order.
    """

    source: np.ndarray
    numbers: np.ndarray

    @staticmethod
    def of(source: "np.ndarray | Rows", numbers: Sequence[int]) -> "np.ndarray | Rows":
        """Rows of an array in memory are copied, those of one on disk are only named."""
        chosen = np.asarray(numbers, np.intp)
        if isinstance(source, Rows):
            return Rows(source.source, source.numbers[chosen])
        return Rows(source, chosen) if isinstance(source, np.memmap) else source[chosen]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        return len(self.numbers), self.source.shape[1]

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the source."""
        return self.source.dtype

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.asarray(self.source[self.numbers[part]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self[:]
        return found if dtype is None else found.astype(dtype)


Vectors = np.ndarray | Rows


def products(left: Vectors, right: Vectors, columns: slice = slice(None), others: slice = slice(None)) -> np.ndarray:
    """Inner products of rows, shape (left, right), float32; a few rows of each are in memory at a time.

    Args:
        left: shape (left, width).
        right: shape (right, width).
        columns: which columns of `left` count.
        others: which columns of `right` count.
    """
    found = np.zeros((len(left), len(right)), np.float32)
    size = max(1, _CHUNK_NUMBERS // max(1, left.shape[1]))
    for start in range(0, len(left), size):
        # Half precision is for storage; sums in it would lose what the labels differ by.
        rows = left[start : start + size][:, columns].astype(np.float32)
        for begin in range(0, len(right), size):
            part = right[begin : begin + size][:, others].astype(np.float32)
            found[start : start + size, begin : begin + size] = rows @ part.T
    return found
