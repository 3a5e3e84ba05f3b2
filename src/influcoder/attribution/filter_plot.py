"""How the scores of a pool lie about the line between what is kept and what is dropped."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE = "#2f6db5", "#d9822b"
_BINS = 60


def scores_figure(scores: np.ndarray, dropped: np.ndarray, line: float) -> "Figure":
    """A histogram of scores on a logarithmic scale, with the line.

    Args:
        scores: shape (samples,).
        dropped: whether each sample is dropped, same shape.
        line: the score from which on samples are dropped; not finite where none is.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    # One value has no range to be cut into bins.
    edges = np.linspace(scores.min(), scores.max() + 1e-6, _BINS + 1)
    both = [scores[~dropped], scores[dropped]]
    labels = [f"kept: {len(both[0])}", f"dropped: {len(both[1])}"]
    axes.hist(both, edges.tolist(), stacked=True, color=[_BLUE, _ORANGE], label=labels)
    if np.isfinite(line):
        axes.axvline(line, color="black", linestyle=":", label=f"line: {line:.3f}")
    axes.set(xlabel="score: influence with the harmful examples, in deviations", ylabel="samples", yscale="symlog")
    axes.set_title("Scores of the pool", loc="left")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
