"""Plots that a reviewer looks at before approving an encoder."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from influcoder.statistics.agreement import Agreement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from influcoder.encoder.result import Attempt, Distilled, Epoch

_BLUE, _GREY, _ORANGE = "#2f6db5", "#9aa3ad", "#d9822b"


def training_figure(distilled: "Distilled") -> "Figure":
    """How an encoder came to be."""
    return (
        choices_figure(distilled.attempts) if distilled.attempts else history_figure(distilled.history, distilled.best)
    )


def history_figure(history: Sequence["Epoch"], best: int) -> "Figure":
    """Training loss and selection ρ of each epoch; epoch 0 is the encoder before training, `best` the one kept."""
    figure = _figure(7, 4)
    left = figure.add_subplot()
    right = left.twinx()
    epochs = [epoch.number for epoch in history]
    left.plot(epochs[1:], [epoch.loss for epoch in history[1:]], color=_GREY, marker="o", label="training loss")
    right.plot(epochs, [epoch.rho for epoch in history], color=_BLUE, marker="o", label="selection ρ")
    right.axvline(best, color=_ORANGE, linestyle=":", label=f"kept: epoch {best}")
    left.set(xlabel="epoch", ylabel="training loss", xticks=epochs)
    right.set(ylabel="mean per-query ρ, selection split")
    left.set_title("Distillation", loc="left")
    handles = [*left.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def choices_figure(attempts: Sequence["Attempt"]) -> "Figure":
    """ρ of training samples that were left out, for each bandwidth and penalty of a closed form; the first was kept."""
    figure = _figure(7, 4)
    axes = figure.add_subplot()
    kept = attempts[0]
    shades = ["#9cc3e6", _BLUE, "#173f6e", _GREY]
    for shade, bandwidth in zip(shades, sorted({attempt.bandwidth for attempt in attempts}), strict=False):
        row = sorted((a.penalty, a.left_out) for a in attempts if a.bandwidth == bandwidth)
        axes.plot(*zip(*row, strict=True), color=shade, marker="o", label=f"bandwidth {bandwidth:g}")
    axes.scatter(
        [kept.penalty], [kept.left_out], s=160, facecolors="none", edgecolors=_ORANGE, linewidths=2, label="kept"
    )
    axes.set(xscale="log", xlabel="ridge penalty", ylabel="mean per-query ρ, each sample left out")
    axes.set_xticks(sorted({a.penalty for a in attempts}), [f"{p:g}" for p in sorted({a.penalty for a in attempts})])
    axes.minorticks_off()
    axes.set_title("Closed form: what was tried on the training labels", loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def agreement_figure(encoders: Mapping[str, Agreement]) -> "Figure":
    """ρ of every query for each encoder, with the mean and its 95 % interval."""
    figure = _figure(7, 1.6 + 0.9 * len(encoders))
    axes = figure.add_subplot()
    jitter = np.random.default_rng(0)
    for row, found in enumerate(encoders.values()):
        colour = _BLUE if row == 0 else _GREY
        axes.scatter(
            found.per_query, row + jitter.uniform(-0.15, 0.15, len(found.per_query)), s=14, alpha=0.45, color=colour
        )
        error = [[found.rho.value - found.rho.lo], [found.rho.hi - found.rho.value]]
        axes.errorbar(found.rho.value, row, xerr=error, fmt="D", color="black", capsize=4, markersize=6)
        axes.annotate(
            f"{found.rho.value:.2f}", (found.rho.value, row), xytext=(0, 9), textcoords="offset points", ha="center"
        )
    axes.axvline(0, color="#cccccc", linewidth=1, zorder=0)
    axes.set(
        yticks=range(len(encoders)), yticklabels=list(encoders), xlabel="Spearman ρ with exact influence, a dot a query"
    )
    axes.set_ylim(len(encoders) - 0.5, -0.5)
    axes.set_title("Agreement on the report split (mean and 95 % interval)", loc="left")
    return figure


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")
