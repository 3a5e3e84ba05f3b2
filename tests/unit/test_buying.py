import pytest
from pydantic import ValidationError

from influcoder.settings.labels import SplitBudget
from influcoder.settings.loop import BuyingSettings
from monitoring.checks import buying as module
from monitoring.checks.buying import CLEAR, MONEY, SAMPLES, SECONDS, Ledger, batches_of, buy

SPOT = SplitBudget(queries=60, candidates=90)


class Clock:
    """Time that passes by a second for each sample labelled."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def labeller(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    known = set()

    def label(size):
        drawn = set(range(size.queries + size.candidates))
        new = drawn - known
        known.update(drawn)
        clock.now += len(new)
        return drawn, len(drawn), len(new)

    label.known = known
    return label


def test_batches_grow_to_the_whole_budget():
    sizes = batches_of(SPOT, BuyingSettings())
    assert [(s.queries, s.candidates) for s in sizes] == [(24, 36), (36, 54), (48, 72), (60, 90)]
    assert batches_of(SPOT, BuyingSettings(first=1)) == [SPOT]
    odd = batches_of(SPOT, BuyingSettings(first=0.5, step=0.3))
    assert (odd[0].queries, odd[-1]) == (30, SPOT)


@pytest.mark.parametrize("clear_at", [60, 90, 120, 150, None])
def test_it_buys_until_the_decision_is_clear(labeller, clear_at):
    labels, batches, stopped = buy(
        batches_of(SPOT, BuyingSettings()), labeller, lambda drawn: len(drawn) == clear_at, BuyingSettings()
    )
    assert stopped == (CLEAR if clear_at else SAMPLES)
    assert len(labels) == sum(batch.labelled for batch in batches) == (clear_at or 150)
    assert [batch.cached for batch in batches] == [0] * len(batches)


@pytest.mark.parametrize(
    ("limits", "stopped", "labelled"),
    [
        ({"seconds": 1}, SECONDS, 60),
        ({"seconds": 90}, SECONDS, 90),
        ({"seconds": 119}, SECONDS, 90),
        ({"seconds": 1000}, SAMPLES, 150),
        ({"money": 1.0, "price_per_hour": 36.0}, MONEY, 90),
        ({"money": 10.0, "price_per_hour": 36.0}, SAMPLES, 150),
    ],
)
def test_it_stays_within_what_may_be_spent(labeller, limits, stopped, labelled):
    limits = BuyingSettings(**limits)
    _, batches, reason = buy(batches_of(SPOT, limits), labeller, lambda _drawn: False, limits)
    assert (reason, sum(batch.labelled for batch in batches)) == (stopped, labelled)


def test_what_a_killed_run_labelled_is_not_bought_again(labeller):
    sizes = batches_of(SPOT, BuyingSettings())
    labeller(sizes[1])
    _, batches, _ = buy(sizes, labeller, lambda _drawn: False, BuyingSettings())
    assert [(batch.labelled, batch.cached) for batch in batches] == [(0, 60), (0, 30), (30, 0), (30, 0)]


def test_a_ledger_adds_up_and_can_be_read():
    _, batches, stopped = buy([SPOT], lambda _size: ((), 150, 100), lambda _labels: True, BuyingSettings())
    ledger = Ledger(batches=tuple(batches), seconds=75.0, cost=1.5, stopped=stopped)
    assert (ledger.labelled, ledger.cached) == (100, 50)
    assert "100 samples labelled and 50 from the cache in 1 batch, 75 s, cost 1.50" in str(ledger)
    assert Ledger.model_validate_json(ledger.model_dump_json()) == ledger


def test_money_needs_a_price():
    with pytest.raises(ValidationError, match="price_per_hour"):
        BuyingSettings(money=5)
