"""A machine whose clock is wrong: refused where it is far off, without consequence where it is a little off."""

import pytest

from faults import seen
from influcoder.registry.journal import entries
from monitoring.checks.record import checks

pytestmark = pytest.mark.long

HOUR = 3600


@pytest.mark.parametrize("hours", [-2, 2, 24 * 400])
def test_a_clock_that_is_far_off_is_refused_before_anything_is_written(forge, place, hours):
    outcome = forge.run("label", place, clock=hours * HOUR)
    assert outcome.kind == "StoreError", outcome
    assert "clock" in outcome.error
    assert "NTP" in outcome.error
    assert not outcome.writes
    assert not list(place.store.keys(""))


def test_clocks_that_differ_by_minutes_change_no_order_and_no_champion(forge, place):
    forge.done("label", place, clock=600)
    forge.done("train", place, clock=-600)
    assert forge.done("promote", place, clock=600) is True
    first = forge.done("check", place, clock=600)
    forge.done("train", place)
    assert forge.done("promote", place, clock=-600) is True
    second = forge.done("check", place, clock=-600)
    assert forge.done("rollback", place) == "1"
    found = entries(place.store, place.registry.model)
    assert [(entry.number, entry.version) for entry in found] == [(1, "1"), (2, "2"), (3, "1")]
    assert found[1].created < found[0].created, "the entries' order is their number, not their clock's"
    state = seen.champions(place)
    assert (state.recorded, state.pointed, state.problem) == ("1", "1", "")
    assert {check.id for check in checks(place.store)} == {first, second}
    seen.everything(place)
