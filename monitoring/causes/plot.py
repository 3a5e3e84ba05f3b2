"""The picture of a cause: the corners of the crossing, and the groups whose agreement changed most."""

import io
from typing import TYPE_CHECKING

from monitoring.causes.record import Explained
from monitoring.checks.findings import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET, FALL, RULE = "#222222", "#8a8f98", "#c0392b", "#d9dce1"
GROUPS = 10
NAME = 34
PLURAL = {"query": "queries", "candidate": "candidates"}


def cause_plot(found: Explained) -> bytes:
    """A PNG with both panels."""
    from matplotlib.figure import Figure as Canvas

    groups = found.groups[:GROUPS]
    height = 1.9 + 0.42 * max(len(found.cells), len(groups), 3)
    canvas = Canvas(figsize=(12.5, height), dpi=130, layout="constrained")
    canvas.get_layout_engine().set(w_pad=0.15)  # type: ignore[union-attr, call-arg]
    left, right = canvas.subplots(1, 2, width_ratios=(1, 1.15))
    _corners(left, found)
    if groups:
        names = [f"{g.samples[0]} {PLURAL[g.role]} of {_short(g.name)}{' (new)' if g.new else ''}" for g in groups]
        _intervals(right, names, [g.change for g in groups], signed=True)
        right.axvline(0, color=INK, linewidth=0.8)
        right.set_xlabel("change of ρ since promotion, 95 % interval each")
    else:
        right.axis("off")
        right.text(0.0, 0.5, "Too few samples to tell groups apart", color=QUIET, transform=right.transAxes)
    by = groups[0].by if groups else "source"
    right.set_title(f"Where it changed most, by {by}", loc="left", fontsize=11, color=INK)
    canvas.suptitle(f"Cause: {found.cause}", x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def _corners(axes: "Axes", found: Explained) -> None:
    _intervals(axes, list(found.cells), list(found.cells.values()), signed=False)
    for value, word in ((found.floor, "floor"), (found.ceiling, "ceiling")):
        if value is not None:
            axes.axvline(value, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(
                f"{word} {value:.2f}",
                (value, 0),
                (0, -3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=8.5,
                color=QUIET,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
    axes.tick_params(axis="x", pad=14)
    axes.set_xlabel("mean per-query ρ, 95 % interval")
    axes.set_title("Agreement by decoder and data", loc="left", fontsize=11, color=INK)


def _intervals(axes: "Axes", names: list[str], figures: list[Figure], signed: bool) -> None:
    for row, figure in enumerate(figures):
        colour = FALL if signed and figure["hi"] < 0 else INK
        axes.hlines(row, figure["lo"], figure["hi"], color=colour, linewidth=2, zorder=2)
        axes.plot(figure["value"], row, "o", color=colour, markersize=7, zorder=3)
        axes.annotate(
            (f"{figure['value']:+.2f}" if signed else f"{figure['value']:.2f}").replace("-", "−"),
            (figure["value"], row),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
    axes.set_yticks(range(len(names)), names, fontsize=9.5, color=INK)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.12)
    axes.tick_params(axis="both", length=0, labelcolor=INK)
    for side in axes.spines.values():
        side.set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
