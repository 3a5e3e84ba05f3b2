"""kronfluence: EK-FAC influence, factors fitted on the candidates.

The seconds hold the fit (two eigendecompositions a layer), which a longer run pays once, and no turn to warm up.
"""

import numpy as np

from influcoder.influence.teachers.ekfac import ekfac_influence


def scores(decoder, tokens, queries) -> np.ndarray:
    """EK-FAC influence, loss on the targets, mean over their tokens."""
    return ekfac_influence(decoder, tokens[:queries], tokens[queries:], tokens[queries:])
