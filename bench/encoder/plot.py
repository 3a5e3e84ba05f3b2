"""The learning curve of the encoder bench."""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.common import RESULTS


def plot_budgets(lines: Mapping[str, Sequence[tuple[int, Sequence[float]]]], name: str) -> None:
    """ρ against labelled samples, a line for each way, with the range over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {"published recipe": "#9aa3ad", "ours": "#2f6db5", "ours, 1 query in 9": "#173f6e"}
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for label, points in lines.items():
        counts = [count for count, _ in points]
        means = [float(np.mean(values)) for _, values in points]
        colour = colours.get(label, "#d9822b")
        axes.plot(counts, means, marker="o", color=colour, label=label)
        lows, highs = ([float(edge(values)) for _, values in points] for edge in (np.min, np.max))
        axes.fill_between(counts, lows, highs, color=colour, alpha=0.12, linewidth=0)
    axes.set(xscale="log", xlabel="labelled samples", ylabel="mean per-query ρ, report block")
    ticks = sorted({count for points in lines.values() for count, _ in points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title("How many labels an encoder needs", loc="left")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / f"{name}.png", dpi=150)
