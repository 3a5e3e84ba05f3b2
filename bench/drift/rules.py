"""The drift decision and simpler rules, followed over many runs at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.drift.checks import Bank
from influcoder.settings.loop import DriftSettings
from influcoder.statistics.sequential import Contrasts, change_now, contrasts, excluded, log_evidence
from monitoring.checks.sequential_test import Observation

NEVER = np.iinfo(np.int64).max
Array = np.ndarray


@dataclass(frozen=True)
class World:
    """What happens to an encoder.

    Args:
        fall: of mean per-query ρ.
        start: the check that it begins with, counted from 1.
        days: how many daily checks are made.
        between: standard deviation of agreement from check to check that is no change.
    """

    fall: float
    start: int
    days: int
    between: float = 0.0


@dataclass(frozen=True)
class Followed:
    """What came of many runs.

    Args:
        alarms: the check of the first alarm of each run, NEVER where there is none.
        samples: samples labelled for a check, in the mean over all checks up to the first alarm.
    """

    alarms: Array
    samples: float

    def delay(self, world: World) -> float:
        """Median of the checks from the fall to the alarm, both counted; infinite where most runs have none."""
        after = self.alarms[self.alarms >= world.start]
        return float(np.median(np.where(after == NEVER, np.inf, after - world.start + 1.0)))


def _variances(errors: Array, queries: int, settings: DriftSettings) -> Array:
    one = Observation(0.0, 1.0, queries, queries).variance(0.0)
    return np.square(errors) * one + settings.between**2


class Runs:
    """Runs of a world, checks taken from a bank at random.

    Args:
        bank: checks that were drawn.
        world: what happens.
        runs: how many.
        seed: of the choice.
    """

    def __init__(self, bank: Bank, world: World, runs: int, seed: int) -> None:
        self.bank, self.world = bank, world
        generator = np.random.default_rng(seed)
        size = len(bank.promotion)
        self.reports = generator.integers(size, size=runs)
        self.choice = generator.integers(size, size=(runs, world.days))
        self.noise = world.between * generator.normal(size=(runs, world.days + 1))

    def fall(self, day: int) -> float:
        """The fall on a day, counted from 1."""
        return self.world.fall if day >= self.world.start else 0.0

    def promotion(self, settings: DriftSettings) -> tuple[Array, Array]:
        """Means and variances at promotion, shape (runs,)."""
        mean, error = self.bank.promotion[self.reports].T
        return mean + self.noise[:, 0], _variances(error, self.bank.reports.shape[1], settings)

    def check(self, day: int, batch: int, settings: DriftSettings) -> tuple[Array, Array]:
        """Means and variances of a check, shape (runs,)."""
        rows, fall = self.choice[:, day - 1], self.fall(day)
        error = self.bank.errors[fall][rows, batch]
        variances = _variances(error, int(self.bank.queries[batch]), settings)
        return self.bank.means[fall][rows, batch] + self.noise[:, day], variances

    def per_query(self, run: int, day: int) -> Array:
        """ρ of each query of a whole check."""
        return self.bank.per_query[self.fall(day)][self.choice[run, day - 1]] + self.noise[run, day]


def sequentially(runs: Runs, settings: DriftSettings, adaptive: bool) -> Followed:
    """The decision as it is made in production, a check's labels bought in batches or all at once."""
    days, samples = runs.world.days, runs.bank.samples
    values, variances = (np.ones((len(runs.reports), days + 1)) for _ in range(2))
    values[:, 0], variances[:, 0] = runs.promotion(settings)
    alarms, bought, checks = np.full(len(values), NEVER), 0, 0
    for day in range(1, days + 1):
        open_runs = np.flatnonzero(alarms == NEVER)
        checks += len(open_runs)
        for batch in range(0 if adaptive else len(samples) - 1, len(samples)):
            mean, variance = runs.check(day, batch, settings)
            values[open_runs, day], variances[open_runs, day] = mean[open_runs], variance[open_runs]
            found = contrasts(values[open_runs, : day + 1], variances[open_runs, : day + 1])
            crossed = _drifted(found, settings)
            alarms[open_runs[crossed]] = day
            done = crossed | excluded(found, settings.margin, settings.miss) | (batch == len(samples) - 1)
            bought += int(samples[batch]) * int(done.sum())
            open_runs = open_runs[~done]
    return Followed(alarms, bought / checks)


def _drifted(found: Contrasts, settings: DriftSettings) -> Array:
    """Whether each run is called drifted; only those are mixed whose best change point could be enough alone."""
    enough = -np.log(settings.alpha)
    best = (found.information * np.square(np.maximum(found.fall, 0)) / 2).max(-1)
    drifted = np.log(2) + best >= enough
    for test in (
        lambda some: log_evidence(some, settings.scale) >= enough,
        lambda some: change_now(some, settings.scale) <= -settings.margin,
    ):
        if drifted.any():
            drifted[drifted] = test(Contrasts(found.fall[drifted], found.information[drifted]))
    return drifted


def by_threshold(runs: Runs, settings: DriftSettings) -> Followed:
    """An alarm where the estimate lies the margin below the one at promotion."""
    promoted = runs.promotion(settings)[0]
    return _each(runs, lambda day, _: runs.check(day, -1, settings)[0] <= promoted - settings.margin)


def by_interval(runs: Runs, settings: DriftSettings) -> Followed:
    """A threshold, and a 95 % interval of the difference below zero: each check for itself."""
    plain = settings.model_copy(update={"between": 0.0})
    promoted, spread = runs.promotion(plain)

    def alarm(day: int, _waiting: Array) -> Array:
        mean, variance = runs.check(day, -1, plain)
        fall = promoted - mean
        return (fall >= settings.margin) & (fall > 1.96 * np.sqrt(spread + variance))

    return _each(runs, alarm)


def by_evidently(runs: Runs, settings: DriftSettings) -> Followed:
    """Evidently's own choice of a test for a numeric column, on ρ of each query; reference is the promotion."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    kind = ColumnType.Numerical
    references = [pd.Series(row).dropna() for row in runs.bank.reports[runs.reports]]

    def alarm(day: int, waiting: Array) -> Array:
        found = np.zeros(len(references), bool)
        for run in np.flatnonzero(waiting):
            current = pd.Series(runs.per_query(run, day)).dropna()
            test = get_stattest(references[run], current, kind, None)
            found[run] = test(references[run], current, kind, None).drifted
        return found

    return _each(runs, alarm)


def stock_test(bank: Bank) -> str:
    """The name of the test that Evidently takes at this size."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    reference, current = pd.Series(bank.reports[0]).dropna(), pd.Series(bank.per_query[0.0][0]).dropna()
    return str(get_stattest(reference, current, ColumnType.Numerical, None).display_name)


def _each(runs: Runs, alarm: Callable[[int, Array], Array]) -> Followed:
    """First alarms of a rule that forgets: what it says before the fall is of no account for its delay."""
    first = runs.world.start if runs.world.fall else 1
    alarms = np.full(len(runs.reports), NEVER)
    for day in range(first, runs.world.days + 1):
        waiting = alarms == NEVER
        if not waiting.any():
            break
        alarms[waiting & alarm(day, waiting)] = day
    return Followed(alarms, float(runs.bank.samples[-1]))
