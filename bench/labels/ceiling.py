"""The ceiling of labels: how well a teacher agrees with itself under other seeds, by rank and sketch size, and how far
arithmetic alone moves its ranking.

Examples: python -m bench.labels.ceiling --queries 30 --candidates 60, python -m bench.labels.ceiling --only numerics
"""

import itertools

import matplotlib

from bench.common import RESULTS, Bench, interleaved, options_parser, prepare, ratios, rho, table
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.numerics import recomputed
from influcoder.influence.reliability import second_opinion
from influcoder.influence.rounding import in_dtype, rounded_to_bfloat16
from influcoder.settings.teacher import TeacherSpec

RANKS = (8, 16, 32, 64)
DIMENSIONS = (8192, 16384, 32768)
AGAINST = (16, 8192)
ROUNDS = 5


def main() -> None:
    """Measure, print, plot."""
    parser = options_parser(__doc__, 30, 60)
    parser.add_argument("--only", choices=("seeds", "numerics"), help="one of the two tables; both unless given")
    options = parser.parse_args()
    bench = prepare(options)
    about = (
        f"{len(bench.queries)} queries × {len(bench.candidates)} candidates of `{options.corpus}`, at most "
        f"{options.max_tokens} tokens, decoder `{options.decoder}`"
    )
    if options.only != "numerics":
        seeds(bench, options.max_tokens, about)
    if options.only != "seeds":
        numerics(bench, options.max_tokens, about)


def seeds(bench: Bench, max_tokens: int, where: str) -> None:
    """The teacher under other adapter and sketch seeds."""
    grid = list(itertools.product(RANKS, DIMENSIONS))
    specs = [TeacherSpec(rank=rank, projection_dim=dim, max_tokens=max_tokens) for rank, dim in grid]
    ceilings = measure(bench, specs)
    costs = cost(bench, specs, grid.index(AGAINST))
    rows = [
        [str(rank), str(dim), f"{value:.3f} [{lo:.3f}, {hi:.3f}]", f"{median:.2f} ({least:.2f} to {most:.2f})"]
        for (rank, dim), (value, lo, hi), (median, least, most) in zip(grid, ceilings, costs, strict=True)
    ]
    about = (
        f"Mean per-query ρ of a teacher with itself under other adapter and sketch seeds, {where}; cost relative to "
        f"rank {AGAINST[0]} with {AGAINST[1]} dimensions, median of {ROUNDS} interleaved rounds (least to most)."
    )
    table(["rank", "dimensions", "ceiling [95 %]", "relative cost"], rows, "label_ceiling", about)
    plot(grid, ceilings, costs)


def numerics(bench: Bench, max_tokens: int, where: str) -> None:
    """The default teacher where only rounding differs: other batches, other floating-point types."""
    spec = TeacherSpec(max_tokens=max_tokens)
    decoders = {
        "all rounded to bfloat16": rounded_to_bfloat16(bench.decoder),
        "weights rounded to bfloat16": in_dtype(in_dtype(bench.decoder, "bfloat16"), "float32"),
        "float64": in_dtype(bench.decoder, "float64"),
    }
    samples = [*bench.queries, *bench.candidates]
    own, apart = (recomputed(bench.decoder, spec, samples, Batching(), apart=apart) for apart in (False, True))
    others = {"other batches": apart}
    others |= {name: recomputed(decoder, spec, samples, Batching()) for name, decoder in decoders.items()}
    batch = sorted(bench.tokens(max_tokens), key=len)[-4:]
    works = [lambda one=one: extract_features(one, spec, batch) for one in (bench.decoder, *decoders.values())]
    # Other batches cost what padding they have, which hangs on the corpus: no figure for them.
    costs = [f"{m:.2f} ({lo:.2f} to {hi:.2f})" for m, lo, hi in ratios(interleaved(works, ROUNDS), 0)]
    labels = bench.influence(own.vectors[:])
    rows = []
    for (name, features), price in zip(others.items(), ["", *costs[1:]], strict=True):
        scores = bench.influence(features.vectors[:])
        value, lo, hi = rho(scores, labels)
        rows.append([name, f"{value:.5f} [{lo:.5f}, {hi:.5f}]", f"{abs(scores - labels).max():.1e}", price])
    about = (
        f"The default teacher with itself where only arithmetic differs, {where}; cost of a pass relative to float32, "
        f"median of {ROUNDS} interleaved rounds (least to most)."
    )
    table(
        ["what differs", "mean per-query ρ [95 %]", "largest change of a cosine", "relative cost"],
        rows,
        "label_numerics",
        about,
    )


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
