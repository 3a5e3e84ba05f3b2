"""Placeholder until merged."""

from collections.abc import Sequence

import numpy as np

from influcoder.decoder import Decoder
from influcoder.influence.tokens import Tokens


def ekfac_influence(
    decoder: Decoder,
    queries: Sequence[Tokens],
    candidates: Sequence[Tokens],
    reference: Sequence[Tokens],
    *,
    damping: float | None = None,
    reduction: str = "mean",
    batch: int = 4,
) -> np.ndarray:
    """x"""
    raise NotImplementedError
