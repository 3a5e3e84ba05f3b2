"""kronfluence without curvature: dot products of the whole gradients of all linear layers."""

import numpy as np

from influcoder.influence.teachers.ekfac import ekfac_influence


def scores(decoder, tokens, queries) -> np.ndarray:
    """Dot products, loss on the targets, mean over their tokens."""
    return ekfac_influence(decoder, tokens[:queries], tokens[queries:], [], strategy="identity")
