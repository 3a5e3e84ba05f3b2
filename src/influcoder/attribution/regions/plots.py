"""Static plots of regions: their shares with intervals, and how much each group of queries owes to each."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from influcoder.attribution.regions.shares import Share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _RED, _GREY, _INK = "#2166ac", "#b2182b", "#9aa3ad", "#24323f"
_LONGEST = 34


def shares_figure(overall: Sequence[Share], caption: str) -> "Figure":
    """Each region's share of the influence above the mean and below it, beside its share of the samples."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.42 * len(overall)), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(overall))[::-1]
    for offset, colour, name, sign in ((0.17, _BLUE, "positive", 1), (-0.17, _RED, "negative", -1)):
        found = [getattr(share, name) for share in overall]
        values = 100 * np.array([item.value for item in found])
        errors = 100 * np.abs(np.array([[i.value - i.lo, i.hi - i.value] for i in found]).T)
        axes.barh(places + offset, values, 0.3, xerr=np.nan_to_num(errors), color=colour, ecolor=_INK, label=_of(sign))
    parts = [100 * share.part for share in overall]
    axes.scatter(parts, places, marker="|", s=260, color=_INK, linewidths=2, zorder=3, label="share of the samples")
    axes.set_yticks(places, [f"{_short(share.region)}  ({share.samples})" for share in overall])
    axes.set(xlabel="per cent", xlim=(0, None))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_ylim(-0.6, len(overall) - 0.4)
    _title(figure, "Where influence comes from", caption, 100)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def lifts_figure(shares: Sequence[Share], caption: str) -> "Figure | None":
    """Lift of each region on each group of queries; None where there is one group alone."""
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(share.queries for share in shares))
    if len(groups) < 2:
        return None
    regions = list(dict.fromkeys(share.region for share in shares))
    value = {(share.region, share.queries): share.lift.value for share in shares}
    table = np.array([[value[region, group] for group in groups] for region in regions])
    figure = Figure(figsize=(3.5 + 0.62 * len(groups), 2.2 + 0.36 * len(regions)), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    logs = np.log2(np.clip(table, 0.25, 4))
    image = axes.imshow(logs, cmap="RdBu", norm=TwoSlopeNorm(0, -2, 2), aspect="auto")
    for row, line in enumerate(table):
        for column, lift in enumerate(line):
            shade = "white" if abs(logs[row, column]) > 1.2 else _INK
            axes.text(column, row, f"{lift:.1f}", ha="center", va="center", fontsize=8, color=shade)
    axes.set_xticks(range(len(groups)), [_short(group) for group in groups], rotation=40, ha="right")
    axes.set_yticks(range(len(regions)), [_short(region) for region in regions])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ticks=[-2, -1, 0, 1, 2], shrink=0.8)
    bar.ax.set_yticklabels(["≤ ¼", "½", "1", "2", "≥ 4"])
    bar.outline.set_visible(False)
    _title(
        figure, "Share of the influence above the mean, over share of samples", caption, int(10 * figure.get_figwidth())
    )
    return figure


def _title(figure: "Figure", title: str, caption: str, width: int) -> None:
    figure.suptitle("\n".join((title, *wrap(caption, width))), x=0.01, ha="left", fontsize=10, color=_INK)


def _of(sign: int) -> str:
    return "share of influence above the pool's mean" if sign > 0 else "share of influence below it"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
