import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from influcoder.core.errors import IntegrityError
from influcoder.registry.journal import Action, Event, champion_of, check_chain, line_of, place
from influcoder.storage.object_store import sha256
from influcoder.storage.records import sealed, sealed_hash

FIGURES = st.floats(allow_nan=False, allow_infinity=False)
VERSIONS = st.sampled_from(["1", "2", "3", "4"])
EVENTS = st.builds(
    Event,
    action=st.sampled_from(Action),
    version=VERSIONS,
    prior=st.none() | VERSIONS,
    actor=st.text(max_size=8),
    reason=st.text(max_size=20),
    evidence=st.dictionaries(st.text(max_size=4), FIGURES | st.text(max_size=4), max_size=2),
    digests=st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=2),
)
JOURNALS = st.lists(EVENTS, min_size=1, max_size=5)


def written(events):
    records = []
    for event in events:
        records.append(sealed(place(event, "encoder", records)))
    return records


def happened(*steps):
    """Entries of steps such as `promoted 2`."""
    pairs = [step.rsplit(" ", 1) for step in steps]
    events = [Event(action=Action(action), version=version, prior=None, actor="someone") for action, version in pairs]
    return check_chain(written(events))


@given(JOURNALS)
def test_what_was_written_is_read(events):
    found = check_chain(written(events))
    assert [Event(**entry.model_dump(include=set(Event.model_fields))) for entry in found] == events
    assert [entry.number for entry in found] == list(range(1, len(events) + 1))


@given(JOURNALS, st.data())
def test_any_changed_byte_is_found_and_named(events, data):
    records = written(events)
    place_of = data.draw(st.integers(0, len(records) - 1))
    record = records[place_of]
    byte = data.draw(st.integers(0, len(record) - 1))
    other = data.draw(st.integers(0, 255))
    assume(other != record[byte])
    records[place_of] = record[:byte] + bytes([other]) + record[byte + 1 :]
    with pytest.raises(IntegrityError, match=rf"entry {place_of + 1} was changed"):
        check_chain(records)


@given(JOURNALS, st.data())
def test_an_entry_that_was_cut_or_lengthened_is_found(events, data):
    records = written(events)
    place_of = data.draw(st.integers(0, len(records) - 1))
    record = records[place_of]
    records[place_of] = data.draw(st.sampled_from([record[:-1], record[1:], record + b" ", b"", record * 2]))
    with pytest.raises(IntegrityError, match=rf"entry {place_of + 1} was changed"):
        check_chain(records)


@given(st.lists(EVENTS, min_size=2, max_size=5), st.data())
def test_a_removed_entry_is_found_unless_it_is_the_last(events, data):
    records = written(events)
    place_of = data.draw(st.integers(0, len(records) - 2))
    del records[place_of]
    with pytest.raises(IntegrityError, match=rf"entry {place_of + 1} is entry {place_of + 2}, moved here"):
        check_chain(records)


@given(st.lists(EVENTS, min_size=2, max_size=5), st.data())
def test_entries_that_changed_places_are_found(events, data):
    records = written(events)
    left = data.draw(st.integers(0, len(records) - 2))
    right = data.draw(st.integers(left + 1, len(records) - 1))
    records[left], records[right] = records[right], records[left]
    with pytest.raises(IntegrityError, match=rf"entry {left + 1} is entry {right + 1}, moved here"):
        check_chain(records)


@given(st.lists(EVENTS, min_size=2, max_size=5), EVENTS, st.data())
def test_an_entry_that_was_written_anew_with_a_seal_of_its_own_is_found(events, other, data):
    records = written(events)
    place_of = data.draw(st.integers(0, len(records) - 2))
    records[place_of] = sealed(place(other, "encoder", records[:place_of]))
    with pytest.raises(IntegrityError, match=rf"entry {place_of + 1} was replaced"):
        check_chain(records)


def test_an_entry_of_a_later_version_is_not_called_changed():
    entry = place(Event(action=Action.HELD, version="1", prior=None, actor="someone"), "encoder", [])
    record = sealed(entry).replace(b'"held"', b'"retired"')
    old = sealed_hash(record)
    record = record.replace(old.encode(), sha256(record.split(b'"entry": ', 1)[1][:-2]).encode())
    with pytest.raises(IntegrityError, match="entry 1 is no entry that this version can read"):
        check_chain([record])


@given(JOURNALS)
def test_the_champion_ends_the_line(events):
    found = check_chain(written(events))
    line = line_of(found)
    assert champion_of(found) == (line[-1] if line else None)
    assert len(set(line)) == len(line)


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ((), ""),
        (("held 1",), ""),
        (("promoted 1", "promoted 2", "held 3"), "1 2"),
        (("promoted 1", "promoted 2", "promoted 3", "rolled back 2"), "1 2"),
        (("promoted 1", "promoted 2", "promoted 3", "rolled back 2", "rolled back 1"), "1"),
        (("promoted 1", "promoted 2", "rolled back 1", "promoted 3"), "1 3"),
        (("promoted 1", "promoted 2", "rolled back 1", "rolled back 2"), "1 2"),
        (("promoted 1", "promoted 2", "promoted 1"), "2 1"),
        (("promoted 1", "adopted 4", "repaired 4"), "1 4"),
    ],
)
def test_the_line_of_champions(steps, line):
    assert " ".join(line_of(happened(*steps))) == line


def test_no_message_is_without_a_remedy():
    with pytest.raises(IntegrityError) as caught:
        check_chain([b"{}"])
    assert re.fullmatch(r"the journal is broken: entry 1 .+\. Restore .+\.", str(caught.value))
