"""How many labels an encoder needs, and which: the learning curve."""

from collections.abc import Sequence

import numpy as np

from bench.common import table
from bench.encoder import baselines as baselines
from bench.encoder.kernels import TEXT, Kernels
from bench.encoder.plot import plot_budgets
from bench.encoder.recipe import published
from bench.encoder.setting import Setting, rho

SHARES = (0.125, 0.25, 0.5, 1.0)
DRAWS = 5
# Share of queries among the labelled samples.
PARTS = {"ours": 1 / 3, "ours, 1 query in 9": 1 / 9}


def budgets(setting: Setting, kernels: Kernels, seeds: int) -> None:
    """ρ by the number of labelled samples: the recipe, ours, and ours with samples chosen otherwise."""
    block = setting.blocks["train"]
    roles = (block.queries, block.candidates)
    lines: dict[str, list[tuple[int, list[float]]]] = {}

    def keep(name: str, count: int, values: list[float]) -> None:
        lines.setdefault(name, []).append((count, values))

    for share in SHARES:
        some = [role[: round(len(role) * share)] for role in roles]
        count = sum(map(len, some))
        found = [published(setting, tuple(some), seed).last for seed in range(seeds)]
        keep(
            "published recipe", count, [rho(baselines.cosines(v, setting, "report"), setting, "report") for v in found]
        )
        for name, part in PARTS.items():
            if count - round(count * part) <= len(roles[1]):
                draws = [_drawn(roles, count, part, seed) for seed in range(DRAWS)]
                keep(name, count, [_solved(kernels, setting, *drawn) for drawn in draws])
        if share < 1:
            covered = [kernels.covering(role, round(len(role) * share)) for role in roles]
            keep("ours, covering samples", count, [_solved(kernels, setting, *covered)])
    plot_budgets(lines, "encoder_budgets")
    rows = [
        [name, str(count), f"{np.mean(values):.3f}", f"{np.min(values):.3f} to {np.max(values):.3f}"]
        for name, points in lines.items()
        for count, values in points
    ]
    about = (
        "Mean per-query ρ on the report block by how many samples are labelled (a third of them queries unless said). "
        "`ours` under five draws of the samples; the recipe on the first of them, as many seeds as were run, "
        "eight epochs whatever their number, so few steps on few labels; covering "
        "samples are chosen by greedy k-centre, without labels."
    )
    table(("", "labelled samples", "report ρ", "least to most"), rows, "encoder_budgets", about)


def _solved(kernels: Kernels, setting: Setting, queries: np.ndarray, candidates: np.ndarray) -> float:
    vectors, _ = kernels.fit(TEXT, queries, candidates)
    return rho(baselines.products(vectors, setting, "report"), setting, "report")


def _drawn(roles: Sequence[np.ndarray], count: int, share: float, seed: int) -> list[np.ndarray]:
    """So many samples of both roles, a share of them queries."""
    random = np.random.default_rng(seed)
    queries = round(count * share)
    return [random.permutation(role)[:size] for role, size in zip(roles, (queries, count - queries), strict=True)]
