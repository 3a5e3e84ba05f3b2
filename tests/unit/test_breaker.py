import pytest

from influcoder.registry.journal import Action, Event, check_chain, place, sealed
from monitoring.loop.breaker import degraded, failures, is_due, opened

HELD, PROMOTED, ROLLED_BACK = Action.HELD, Action.PROMOTED, Action.ROLLED_BACK
OPENED, CLOSED = Action.BREAKER_OPENED, Action.BREAKER_CLOSED


def journal(*steps):
    records = []
    for action, version, *check in steps:
        evidence = {"retraining": check[0] if check else ""}
        event = Event(action=action, version=version, prior="1", actor="a", reason="why", evidence=evidence)
        records.append(sealed(place(event, "encoder", records)))
    return check_chain(records)


@pytest.mark.parametrize(
    ("steps", "row"),
    [
        ([], []),
        ([(HELD, "2", "a"), (HELD, "3", "b")], ["2", "3"]),
        ([(HELD, "2", "a"), (HELD, "2", "a")], ["2"]),
        ([(HELD, "2"), (HELD, "3", "b")], ["3"]),
        ([(HELD, "2", "a"), (PROMOTED, "3"), (HELD, "4", "c")], ["4"]),
        ([(HELD, "2", "a"), (ROLLED_BACK, "1"), (HELD, "4", "c")], ["4"]),
        ([(HELD, "2", "a"), (OPENED, "1"), (CLOSED, "1"), (HELD, "4", "c")], ["4"]),
        ([(HELD, "2", "a"), (Action.APPROVED, "9"), (Action.REJECTED, "9"), (HELD, "4", "c")], ["2", "4"]),
    ],
)
def test_a_row_of_failures(steps, row):
    assert [entry.version for entry in failures(journal(*steps))] == row


def test_it_opens_once_and_stays_open_until_a_person_closes_it():
    steps = [(HELD, "2", "a"), (HELD, "3", "b")]
    assert not is_due(journal(*steps), 3)
    assert is_due(journal(*steps), 2)
    steps.append((OPENED, "1"))
    assert not is_due(journal(*steps), 2)
    assert "influcoder breaker reset" in degraded(journal(*steps))
    steps.append((PROMOTED, "4"))
    assert opened(journal(*steps))
    steps.append((CLOSED, "4"))
    assert opened(journal(*steps)) is None
    assert degraded(journal(*steps)) == ""
