"""The ceiling of labels: how well a teacher agrees with itself under other seeds, by rank and sketch size.

Example: python -m bench.labels.ceiling --queries 30 --candidates 60
"""

import itertools

import matplotlib

from bench.common import RESULTS, Bench, arguments, interleaved, prepare, ratios, rho, table
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.reliability import second_opinion
from influcoder.settings.teacher import TeacherSpec

RANKS = (8, 16, 32, 64)
DIMENSIONS = (8192, 16384, 32768)
AGAINST = (16, 8192)
ROUNDS = 5


def main() -> None:
    """Measure, print, plot."""
    options = arguments(__doc__, 30, 60)
    bench = prepare(options)
    grid = list(itertools.product(RANKS, DIMENSIONS))
    specs = [TeacherSpec(rank=rank, projection_dim=dim, max_tokens=options.max_tokens) for rank, dim in grid]
    ceilings = measure(bench, specs)
    costs = cost(bench, specs, grid.index(AGAINST))
    rows = [
        [str(rank), str(dim), f"{value:.3f} [{lo:.3f}, {hi:.3f}]", f"{median:.2f} ({least:.2f} to {most:.2f})"]
        for (rank, dim), (value, lo, hi), (median, least, most) in zip(grid, ceilings, costs, strict=True)
    ]
    about = (
        "Mean per-query ρ of a teacher with itself under other adapter and sketch seeds, "
        f"{len(bench.queries)} queries × {len(bench.candidates)} candidates of `{options.corpus}`, at most "
        f"{options.max_tokens} tokens, decoder `{options.decoder}`; cost relative to "
        f"rank {AGAINST[0]} with {AGAINST[1]} dimensions, median of {ROUNDS} interleaved rounds (least to most)."
    )
    table(["rank", "dimensions", "ceiling [95 %]", "relative cost"], rows, "label_ceiling", about)
    plot(grid, ceilings, costs)


def measure(bench: Bench, specs: list[TeacherSpec]) -> list[tuple[float, float, float]]:
    """ρ of every specification with itself under other seeds."""
    features = bench.features([*specs, *(second_opinion(spec) for spec in specs)])
    scores = [bench.influence(rows) for rows in features]
    return [rho(scores[len(specs) + index], scores[index]) for index in range(len(specs))]


def cost(bench: Bench, specs: list[TeacherSpec], against: int) -> list[tuple[float, float, float]]:
    """Seconds of one batch, relative to one of the specifications."""
    batch = sorted(bench.tokens(specs[0].max_tokens), key=len)[-4:]
    works = [lambda spec=spec: extract_features(bench.decoder, spec, batch) for spec in specs]
    return ratios(interleaved(works, ROUNDS), against)


def plot(grid: list[tuple[int, int]], ceilings: list, costs: list) -> None:
    """Ceiling against cost, a line for each sketch size."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for dim in DIMENSIONS:
        places = [index for index, (_, other) in enumerate(grid) if other == dim]
        xs, ys = [costs[i][0] for i in places], [ceilings[i][0] for i in places]
        axes.plot(xs, ys, marker="o", label=f"{dim} dimensions")
        for index, x, y in zip(places, xs, ys, strict=True):
            axes.annotate(f"r {grid[index][0]}", (x, y), textcoords="offset points", xytext=(6, -10), fontsize=8)
    axes.axhline(0.95, color="#9aa3ad", linestyle=":")
    axes.axvline(1.2, color="#9aa3ad", linestyle=":")
    axes.set(xlabel=f"cost relative to rank {AGAINST[0]}, {AGAINST[1]} dimensions", ylabel="ceiling: mean per-query ρ")
    axes.set_title("How well labels agree with themselves under other seeds", loc="left")
    axes.legend(frameon=False, loc="lower center")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "label_ceiling.png", dpi=150)


if __name__ == "__main__":
    main()
