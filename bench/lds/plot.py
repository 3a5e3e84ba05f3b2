"""Linear datamodelling scores as bars, with what retraining says of itself as a line."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

from influcoder.statistics.bootstrap import Interval

_TEACHER, _STUDENT = "#2f6db5", "#d9822b"
COLOURS = {
    "gradient": _TEACHER,
    "whitened": _TEACHER,
    "EK-FAC": _TEACHER,
    "LESS": _TEACHER,
    "damped Fisher": _TEACHER,
    "encoder": _STUDENT,
    "closed form": _STUDENT,
}
OTHER = "#9aa3ad"


def plot(scores: Mapping[str, Interval], one: float, best: float, path: Path) -> None:
    """Horizontal bars with intervals.

    Args:
        scores: score of each teacher, best first.
        one: ρ of one half of the retrainings with the other.
        best: the most that a ranking can reach.
        path: where the picture goes.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 0.36 * len(scores) + 1.3), layout="constrained")
    names, found = list(scores), list(scores.values())
    values = np.array([score.value for score in found])
    reach = np.array([[score.value - score.lo, score.hi - score.value] for score in found]).T
    bars = {"height": 0.62, "color": [_colour(name) for name in names]}
    axes.barh(names, values, xerr=reach, error_kw={"ecolor": "#3d444d", "lw": 1, "capsize": 2.5}, **bars)
    for place, score in enumerate(found):
        axes.annotate(
            f"{score.value:.3f}", (max(score.hi, 0), place), (5, 0), textcoords="offset points", va="center", fontsize=8
        )
    for where, text, style in ((one, "one half of the retrainings", ":"), (best, "most that can be reached", "--")):
        if np.isfinite(where):
            axes.axvline(where, color="#5b6570", linestyle=style, lw=1.2, label=f"{text} {where:.3f}")
    axes.axvline(0, color="#3d444d", lw=0.8)
    axes.invert_yaxis()
    axes.set(xlabel="linear datamodelling score: mean per-query ρ with what retraining did", xlim=(None, 1.02))
    axes.set_title("How far a ranking predicts what retraining does", loc="left")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(0.85, 0), fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    figure.savefig(path, dpi=150)


def _colour(name: str) -> str:
    return next((colour for word, colour in COLOURS.items() if name.startswith(word)), OTHER)
