"""What a channel is sent, and when: the rules alone, with a clock that the test turns."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influcoder.settings.alerts import AlertKind, AlertSettings, QuietHours
from monitoring.alerts.alert import Alert, OutboxEntry
from monitoring.alerts.channel_state import HOUR, ChannelState, Sent, backoff
from monitoring.alerts.policy import is_held, is_hopeless, is_quiet, next_message

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
KINDS = (AlertKind.DRIFT, AlertKind.GATE, AlertKind.BREAKER)
events = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(KINDS), st.integers(1, 3)), min_size=1, max_size=40)
limits = st.builds(
    AlertSettings,
    per_hour=st.integers(1, 4),
    cooldown_hours=st.sampled_from([0.0, 0.5, 3.0]),
    quiet=st.sampled_from([None, QuietHours(start="22:00", end="07:00", zone="Europe/London")]),
)


def raised(kind=AlertKind.DRIFT, subject="encoder 1", occurrence="a", at=START):
    alert = Alert(
        kind=kind, subject=subject, occurrence=occurrence, title="t", what="w", doing="d", created=at.isoformat()
    )
    return OutboxEntry(alert=alert, channels=("one",))


def sent_of(message, now):
    return Sent(at=now, topics=message.topics, message=message.id, alerts=tuple(p.id for p in message.alerts))


def live(moments, settings, minutes, works=lambda now: True):
    """Minute by minute, as a deliverer on a channel would: what arrived and when, what waits, when it was tried."""
    state, waiting, arrived, tries = ChannelState(), [], [], []
    for minute in range(minutes):
        now = START + timedelta(minutes=minute)
        waiting += moments.get(minute, [])
        while message := next_message(waiting, state, settings, now):
            sent = sent_of(message, now)
            tries.append(now)
            if not works(now):
                state = state.failed(sent.alerts, "away", settings, now)
                continue
            state = state.succeeded(sent, settings)
            arrived.append((now, message))
            waiting = [p for p in waiting if p.id not in sent.alerts]
    return arrived, waiting, tries


def by_minute(found):
    moments = {}
    for minute, kind, subject in found:
        at = START + timedelta(minutes=minute)
        entry = raised(kind, f"encoder {subject}", f"{minute} {kind} {subject}", at)
        moments.setdefault(minute, {})[entry.id] = entry
    return {minute: list(entry.values()) for minute, entry in moments.items()}


@given(events, limits)
def test_nothing_is_lost_doubled_or_sent_against_a_rule(found, settings):
    moments = by_minute(found)
    arrived, waiting, _ = live(moments, settings, minutes=60 * 48)
    told = [entry.id for _, message in arrived for entry in message.alerts]
    assert waiting == []
    assert sorted(told) == sorted(p.id for entry in moments.values() for p in entry)
    times = [at for at, _ in arrived]
    for at in times:
        assert sum(at - HOUR < other <= at for other in times) <= settings.per_hour
    topics = [(at, topic) for at, message in arrived for topic in message.topics]
    for i, (at, topic) in enumerate(topics):
        later = [other - at for other, same in topics[i + 1 :] if same == topic]
        assert all(gap >= timedelta(hours=settings.cooldown_hours) for gap in later)
    if settings.quiet:
        night = [message for at, message in arrived if is_quiet(settings.quiet, at)]
        assert all(p.alert.kind in settings.critical for message in night for p in message.alerts)


@given(events, st.integers(1, 600))
def test_a_channel_that_was_dead_gets_all_of_it(found, dead_minutes):
    settings = AlertSettings(cooldown_hours=0)
    up = START + timedelta(minutes=dead_minutes)
    moments = by_minute(found)
    arrived, waiting, tries = live(moments, settings, minutes=60 * 20, works=lambda now: now >= up)
    assert waiting == []
    assert all(at >= up for at, _ in arrived)
    failed = [at for at in tries if at < up]
    gaps = [later - at for at, later in pairwise(failed)]
    for number, gap in enumerate(gaps, 1):
        assert gap >= backoff(number, settings)


def test_what_the_limit_holds_back_comes_in_one_message():
    entry = [raised(subject=f"encoder {i}", occurrence=str(i)) for i in range(9)]
    arrived, _, _ = live({0: entry}, AlertSettings(per_hour=4), minutes=1)
    assert [len(message.alerts) for _, message in arrived] == [1, 1, 1, 6]
    assert [message.digest for _, message in arrived] == [False, False, False, True]


def test_the_limit_counts_for_any_hour():
    settings = AlertSettings(per_hour=2)
    moments = {minute: [raised(subject=f"encoder {minute}", occurrence=str(minute))] for minute in (50, 55, 58, 65, 70)}
    arrived, _, _ = live(moments, settings, minutes=200)
    assert [((at - START) // timedelta(minutes=1), len(m.alerts)) for at, m in arrived] == [(50, 1), (55, 1), (110, 3)]


def test_one_subject_is_told_again_after_the_cooldown_with_the_newest_in_full():
    first, second, third = (raised(occurrence=str(i), at=START + timedelta(minutes=i)) for i in range(3))
    arrived, _, _ = live({0: [first], 1: [second], 2: [third]}, AlertSettings(cooldown_hours=2), minutes=200)
    assert [[p.alert.occurrence for p in m.alerts] for _, m in arrived] == [["0"], ["2", "1"]]
    assert arrived[1][0] - arrived[0][0] == timedelta(hours=2)


def test_critical_goes_first_and_through_the_night():
    quiet = QuietHours(start="22:00", end="07:00")
    night = START.replace(hour=23)
    drift, breaker = raised(), raised(AlertKind.BREAKER, "encoder 2")
    settings = AlertSettings(quiet=quiet)
    assert is_held(drift, ChannelState(), settings, night)
    assert next_message([drift, breaker], ChannelState(), settings, night).alerts == (breaker,)
    assert next_message([drift, breaker], ChannelState(), settings, START).alerts == (breaker,)
    assert next_message([drift], ChannelState(), settings, night) is None


def test_a_refused_alert_blocks_no_other_one():
    poison, later = raised(AlertKind.BREAKER), raised(subject="encoder 2", at=START + timedelta(hours=1))
    settings = AlertSettings()
    state = ChannelState().failed([poison.id], "400", settings, START)
    now = START + timedelta(hours=1)
    assert next_message([poison, later], state, settings, now).alerts == (later,)


@given(st.times(), st.times(), st.integers(0, 60 * 24 * 365), st.sampled_from(["UTC", "Asia/Kolkata", "Europe/London"]))
def test_quiet_hours_are_those_of_the_wall_clock(start, end, minutes, zone):
    quiet, now = QuietHours(start=start, end=end, zone=zone), START + timedelta(minutes=minutes)
    local = now.astimezone(ZoneInfo(zone)).time()
    length, since = (
        (datetime.combine(START, to) - datetime.combine(START, start)) % timedelta(days=1) for to in (end, local)
    )
    assert is_quiet(quiet, now) == (since < length)


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (datetime(2026, 3, 28, 12, tzinfo=UTC), 8),  # clocks go forward: the night is an hour shorter
        (datetime(2026, 10, 24, 12, tzinfo=UTC), 10),  # and back
        (datetime(2026, 7, 1, 12, tzinfo=UTC), 9),
    ],
)
def test_quiet_hours_over_midnight_and_a_change_of_the_clocks(day, hours):
    quiet = QuietHours(start=time(22), end=time(7), zone="Europe/London")
    minutes = [day + timedelta(minutes=i) for i in range(24 * 60)]
    held = [at for at in minutes if is_quiet(quiet, at)]
    assert len(held) == hours * 60
    assert held == [held[0] + timedelta(minutes=i) for i in range(len(held))]
    assert held[0].astimezone(ZoneInfo("Europe/London")).time() == time(22)
    assert (held[-1] + timedelta(minutes=1)).astimezone(ZoneInfo("Europe/London")).time() == time(7)


@given(st.integers(1, 10_000), st.floats(0.1, 100), st.floats(0.1, 10_000))
def test_backoff_grows_and_ends(failures, first, most):
    settings = AlertSettings(retry_minutes=first, retry_at_most_minutes=most)
    wait = backoff(failures, settings)
    assert timedelta(minutes=first) <= wait + timedelta(microseconds=1)
    assert wait <= timedelta(minutes=max(first, most))
    assert wait <= backoff(failures + 1, settings)


def test_only_what_was_tried_for_long_is_given_up():
    settings, entry = AlertSettings(give_up_hours=10, retry_at_most_minutes=60), raised()
    state, now = ChannelState(), START
    assert not is_hopeless(entry, state, settings, START + timedelta(days=300))
    while not is_hopeless(entry, state, settings, now):
        message = next_message([entry], state, settings, now)
        if message:
            state = state.failed([p.id for p in message.alerts], "away", settings, now)
        now += timedelta(minutes=10)
    assert now - START == timedelta(hours=10)
    assert 10 <= state.failures <= 20
    fresh = raised(subject="encoder 2", at=now)
    assert not is_hopeless(fresh, state, settings, now + timedelta(hours=9))
    assert is_hopeless(fresh, state, settings, now + timedelta(hours=10))


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.text(max_size=5), st.text(max_size=5)), min_size=2, max_size=20))
def test_an_id_stands_for_kind_subject_and_occurrence(named):
    ids = {name: raised(*name).id for name in named}
    assert len(set(ids.values())) == len(set(named))
    assert all(raised(*name, at=START + timedelta(days=1)).id == same for name, same in ids.items())
