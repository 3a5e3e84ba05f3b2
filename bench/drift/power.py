"""How often the drift decision is wrong, how soon it is right, and what it costs, beside simpler rules.

Example: python -m bench.drift.power --data ../shared/data
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from bench.common import table
from bench.drift.checks import Bank, Pool, bank_of, pool_of
from bench.drift.plot import plot_power
from bench.drift.rules import (
    NEVER,
    Followed,
    Runs,
    World,
    by_evidently,
    by_interval,
    by_threshold,
    sequentially,
    stock_test,
)
from bench.encoder.run import BUDGET, DECODER, DOCUMENTS
from bench.encoder.setting import documentation, instructions
from influcoder.settings.loop import DriftSettings
from influcoder.settings.tree import Settings

Rule = Callable[[Runs, DriftSettings], Followed]
SHARES = (0.4, 0.6, 0.8, 1.0)
FALLS = (0.05, 0.1, 0.2)
STARTS = (1, 30, 180)
YEAR, AFTER = 365, 150
DAYS = range(1, YEAR + 1)
CELLS = [(fall, start) for fall in FALLS for start in STARTS]
HEAD = ("rule", "false alarms in 365 checks", *(f"{fall} from {start}" for fall, start in CELLS), "samples")
RULES: Mapping[str, Rule] = {
    "sequential, labels bought in batches": partial(sequentially, adaptive=True),
    "the same, a fall excluded less readily": lambda runs, settings: sequentially(
        runs, strict(settings), adaptive=True
    ),
    "sequential, all labels at once": partial(sequentially, adaptive=False),
    "threshold: estimate below the margin": by_threshold,
    "one look: threshold and interval": by_interval,
    "Evidently's default for a column": by_evidently,
}


def main() -> None:
    """Draw checks, follow them, print, plot."""
    options = _options()
    settings, rows, said = DriftSettings(), [], []
    shares: dict[str, dict[str, list[float]]] = {}
    delays: dict[str, dict[str, list[float]]] = {}
    for name, pool in pools(options):
        bank = bank_of(name, pool, sizes(), options.checks)
        found = {rule: judged(bank, follow, settings, options) for rule, follow in RULES.items()}
        shares[name] = {rule: [float((year.alarms <= day).mean()) for day in DAYS] for rule, (year, _) in found.items()}
        delays[name] = {rule: [cells[CELLS.index((fall, 30))] for fall in FALLS] for rule, (_, cells) in found.items()}
        rows += [[f"{name}: {rule}", *_words(*cells)] for rule, cells in found.items()]
        said.append(_about(name, pool, bank, settings, options))
    table(HEAD, rows, "drift_power", " ".join([_intro(settings, options), *said]))
    plot_power(shares, delays, FALLS, AFTER)


def pools(options: argparse.Namespace) -> Iterator[tuple[str, Pool]]:
    """What checks are drawn from: documentation always, instructions where their files are."""
    setting = documentation("docs:numpy,scipy,pandas", DOCUMENTS, 128, DECODER)
    yield "documentation", pool_of(setting, DECODER, 128, square=True)
    if not (options.data / "queries_bbh.jsonl").is_file():
        print(f"{options.data} holds no queries_bbh.jsonl: checks on instructions are left out.")
        return
    setting = instructions(options.data, BUDGET, 192, DECODER)
    yield "BBH", pool_of(setting, DECODER, 192, square=False)


def sizes() -> list[tuple[int, int]]:
    """Queries and candidates of each batch of a check, as the settings' spot budget is bought."""
    spot = Settings.model_fields["labels"].default.spot
    return [(round(share * spot.queries), round(share * spot.candidates)) for share in SHARES]


def strict(settings: DriftSettings) -> DriftSettings:
    """Settings under which a check buys on for longer."""
    return settings.model_copy(update={"miss": 0.2})


def judged(
    bank: Bank, follow: Rule, settings: DriftSettings, options: argparse.Namespace
) -> tuple[Followed, list[float]]:
    """A year without a change, and the median delay for every fall and start."""
    year = follow(Runs(bank, World(0.0, 1, YEAR), options.runs, seed=0), settings)
    delays = []
    for number, (fall, start) in enumerate(CELLS, start=1):
        world = World(fall, start, start + AFTER - 1)
        delays.append(follow(Runs(bank, world, options.delay_runs, seed=number), settings).delay(world))
    return year, delays


def _words(year: Followed, delays: Sequence[float]) -> list[str]:
    return [_share(year), *(_days(delay) for delay in delays), f"{year.samples:.0f}"]


def _share(year: Followed) -> str:
    """Share of runs with an alarm, with the exact 95 % interval of a binomial."""
    test = binomtest(int((year.alarms != NEVER).sum()), len(year.alarms))
    interval = test.proportion_ci(0.95)
    return f"{test.statistic:.2%} [{interval.low:.2%}, {interval.high:.2%}]"


def _days(delay: float) -> str:
    return f"> {AFTER}" if np.isinf(delay) else f"{delay:.0f}"


def _intro(settings: DriftSettings, options: argparse.Namespace) -> str:
    return (
        f"Daily checks of an encoder, drawn from real labels of `{DECODER}` and an encoder in closed form, samples and "
        f"candidates afresh for each. False alarms: share of {options.runs} runs (exact 95 % interval of the binomial) "
        f"with an alarm in {YEAR} checks without a change. `0.1 from 30`: median number of checks until the alarm, the "
        f"first after the fall counted as 1, where mean per-query ρ falls by 0.1 from check 30 on "
        f"({options.delay_runs} runs, {AFTER} checks; forgetful rules are asked from the fall on). Samples: labelled "
        f"for a check without a change. Settings: alpha {settings.alpha}, margin {settings.margin}, between "
        f"{settings.between}, miss {settings.miss}, {strict(settings).miss} where a fall is excluded less readily; "
        "promotion rests on 100 queries × 150 candidates."
    )


def _about(name: str, pool: Pool, bank: Bank, settings: DriftSettings, options: argparse.Namespace) -> str:
    varied = {
        between: _share(
            sequentially(Runs(bank, World(0.0, 1, YEAR, between), options.runs, seed=0), settings, adaptive=False)
        )
        for between in (0.01, 0.02)
    }
    spread, error = bank.means[0.0][:, -1].std(), np.sqrt(np.square(bank.errors[0.0][:, -1]).mean())
    return (
        f"{name}: {pool.labels.shape[0]} queries × {pool.labels.shape[1]} candidates"
        f"{', each sample a query that ranks the others' if pool.square else ''}, ρ {pool.rho[0.0]:.3f}, "
        f"{len(bank.promotion)} checks drawn; their means spread by {spread:.4f}, the bootstrap says {error:.4f}; "
        f"Evidently takes its `{stock_test(bank)}`; where agreement varies by 0.01 from check to check without "
        f"a change, {varied[0.01]} false alarms, by 0.02, {varied[0.02]} (all labels at once)."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of queries and pool")
    parser.add_argument("--checks", type=int, default=600, help="checks that are drawn from the labels")
    parser.add_argument("--runs", type=int, default=2000, help="runs of a year without a change")
    parser.add_argument("--delay-runs", type=int, default=100, help="runs of each fall")
    return parser.parse_args()


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")
