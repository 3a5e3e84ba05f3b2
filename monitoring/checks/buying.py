"""Spot labels in batches: bought until the decision is clear, or until what may be spent is used up."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from influcoder.settings.labels import SplitBudget
from influcoder.settings.loop import BuyingSettings

T = TypeVar("T")
CLEAR, SAMPLES, SECONDS, MONEY = "clear", "samples", "seconds", "money"
WORDS = {
    CLEAR: "the decision was clear",
    SAMPLES: "the budget of samples was used up",
    SECONDS: "the next batch would have gone beyond the budget of seconds",
    MONEY: "the next batch would have gone beyond the budget of money",
}


class Batch(BaseModel):
    """What one batch added.

    Args:
        queries: queries of the draw so far.
        candidates: candidates of the draw so far.
        labelled: samples that were labelled for it.
        cached: samples whose labels were there already.
        seconds: that it took.
    """

    model_config = ConfigDict(frozen=True)

    queries: int
    candidates: int
    labelled: int
    cached: int
    seconds: float


class Ledger(BaseModel):
    """What a check spent on labels.

    Args:
        batches: in their order; each draw contains the ones before it.
        seconds: of labelling, and of measuring what the labels are worth.
        cost: of these seconds, at the price that was set; None without one.
        stopped: why no more were bought: a key of `WORDS`.
    """

    model_config = ConfigDict(frozen=True)

    batches: tuple[Batch, ...]
    seconds: float
    cost: float | None
    stopped: str

    @property
    def labelled(self) -> int:
        """Samples that were labelled."""
        return sum(batch.labelled for batch in self.batches)

    @property
    def cached(self) -> int:
        """Samples whose labels were there already."""
        return sum(batch.cached for batch in self.batches)

    def __str__(self) -> str:
        price = "" if self.cost is None else f", cost {self.cost:.2f}"
        many = f"{len(self.batches)} batch{'' if len(self.batches) == 1 else 'es'}"
        samples = f"{self.labelled} samples labelled and {self.cached} from the cache in {many}"
        return f"{samples}, {self.seconds:.0f} s{price}; {WORDS[self.stopped]}"


def batches_of(spot: SplitBudget, buying: BuyingSettings) -> list[SplitBudget]:
    """Sizes of the growing draw, the last one being the whole budget of samples."""
    shares = [buying.first]
    while shares[-1] < 1 - 1e-9:
        shares.append(min(1.0, shares[-1] + buying.step))
    sizes = [(max(2, round(share * spot.queries)), max(5, round(share * spot.candidates))) for share in shares]
    return [SplitBudget(queries=queries, candidates=candidates) for queries, candidates in dict.fromkeys(sizes)]


def buy(
    sizes: Sequence[SplitBudget],
    label: Callable[[SplitBudget], tuple[T, int, int]],
    is_clear: Callable[[T], bool],
    buying: BuyingSettings,
) -> tuple[T, list[Batch], str]:
    """Buy labels batch by batch.

    The first batch is bought whatever it costs; another one where the pace so far says that it stays within the budget.

    Args:
        sizes: of the draw, growing.
        label: labels a draw of some size, and says how many samples it holds and how many it had to label.
        is_clear: whether the decision is clear with these labels.
        buying: budgets.
    Returns:
        the labels, what each batch took, and why no more were bought.
    """
    bought: list[Batch] = []
    known = 0
    for place, size in enumerate(sizes):
        start = time.monotonic()
        labels, samples, labelled = label(size)
        spent = time.monotonic() - start
        cached = max(samples - known - labelled, 0)
        known = samples
        bought.append(Batch(**size.model_dump(), labelled=labelled, cached=cached, seconds=round(spent, 2)))
        if is_clear(labels):
            return labels, bought, CLEAR
        if place + 1 == len(sizes):
            break
        if reason := _beyond(bought, sizes[place + 1], buying):
            return labels, bought, reason
    return labels, bought, SAMPLES


def _beyond(bought: Sequence[Batch], following: SplitBudget, buying: BuyingSettings) -> str:
    """Which budget the next batch would break; empty where none."""
    seconds, labelled = sum(batch.seconds for batch in bought), sum(batch.labelled for batch in bought)
    more = following.queries + following.candidates - bought[-1].queries - bought[-1].candidates
    expected = seconds + (more * seconds / labelled if labelled else 0.0)
    if buying.seconds is not None and expected > buying.seconds:
        return SECONDS
    if buying.money is not None and expected * buying.price_per_hour / 3600 > buying.money:
        return MONEY
    return ""
