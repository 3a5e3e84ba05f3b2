"""The plot of the drift bench: false alarms beside the delay of finding a fall."""

from collections.abc import Mapping, Sequence

from bench.common import RESULTS

COLOURS = ("#173f6e", "#2f6db5", "#86b3e0", "#d9822b", "#9aa3ad", "#a05195")


def plot_power(
    shares: Mapping[str, Mapping[str, Sequence[float]]],
    delays: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    falls: Sequence[float],
    most: int,
) -> None:
    """Share of runs with a false alarm by check, and the median delay by size of the fall.

    Args:
        shares: by pool and rule: share of runs with an alarm up to each check of a year without a change.
        delays: by pool and rule: median delay for each fall, starting at check 30; infinite where none was found.
        falls: the falls.
        most: how many checks after a fall were followed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(shares), figsize=(5.2 * len(shares), 7.6), layout="constrained", squeeze=False
    )
    for column, name in enumerate(shares):
        above, below = axes[:, column]
        for colour, rule in zip(COLOURS, shares[name], strict=True):
            above.plot(range(1, len(shares[name][rule]) + 1), shares[name][rule], color=colour, label=rule)
            places = [min(delay, most * 1.15) for delay in delays[name][rule]]
            below.plot([str(fall) for fall in falls], places, color=colour, marker="o")
        above.set_title(f"{name}: false alarms", loc="left")
        above.set(xlabel="checks without a change", ylabel="share of encoders called drifted", ylim=(-0.02, 1.02))
        below.set_title("Checks until a fall is found", loc="left")
        below.set(xlabel="fall of mean per-query ρ from check 30 on", ylabel="median", yscale="log")
        below.set_yticks([1, 3, 10, 30, 100, most * 1.15], ["1", "3", "10", "30", "100", f"> {most}"])
        below.minorticks_off()
    for item in axes.flat:
        item.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)
    figure.savefig(RESULTS / "drift_power.png", dpi=150)
    pyplot.close(figure)
