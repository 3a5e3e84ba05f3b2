"""What a channel is sent next, and when not: quiet hours, cooldown, limit, order, giving up. No clock, no store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from influcoder.settings.alerts import AlertSettings, QuietHours
from influcoder.storage.object_store import sha256
from monitoring.alerts.alert import OutboxEntry
from monitoring.alerts.channel_state import HOUR, ChannelState

# A deliverer that was away for days must not give up what it never really tried.
LEAST_ATTEMPTS = 3


@dataclass(frozen=True)
class Message:
    """What is sent at once.

    Args:
        alerts: at least one; the first one is shown in full unless the message is a digest.
        digest: whether all are only listed.
    """

    alerts: tuple[OutboxEntry, ...]
    digest: bool = False

    @property
    def id(self) -> str:
        """The same for the same content, so that a reader knows a message that comes twice."""
        lead = self.alerts[0].id
        return sha256(" ".join(p.id for p in self.alerts).encode())[:16] if self.digest else lead

    @property
    def topics(self) -> tuple[str, ...]:
        """What it is about."""
        return tuple(dict.fromkeys(entry.alert.topic for entry in self.alerts))


def next_message(
    waiting: Sequence[OutboxEntry], state: ChannelState, settings: AlertSettings, now: datetime
) -> Message | None:
    """The next message to a channel; None where nothing may be sent now.

    Alerts of one kind and subject go together, the newest in full. The last message that the limit allows within the
    hour lists all that is left.

    Args:
        waiting: alerts that have to reach the channel.
        state: what is known of it.
        settings: limit, cooldown, quiet hours.
        now: UTC.
    """
    free = settings.per_hour - sum(sent.at > now - HOUR for sent in state.sent)
    if free <= 0 or (state.retry_at and now < state.retry_at):
        return None
    groups: dict[str, list[OutboxEntry]] = {}
    for entry in waiting:
        if not is_held(entry, state, settings, now):
            groups.setdefault(entry.alert.topic, []).append(entry)
    ordered = sorted((_newest_first(group) for group in groups.values()), key=lambda g: _rank(g, state, settings))
    if not ordered:
        return None
    if free == 1 and len(ordered) > 1:
        return Message(tuple(entry for group in ordered for entry in group), digest=True)
    return Message(tuple(ordered[0]))


def is_held(entry: OutboxEntry, state: ChannelState, settings: AlertSettings, now: datetime) -> bool:
    """Whether quiet hours or a cooldown hold an alert back."""
    quiet = settings.quiet is not None and is_quiet(settings.quiet, now)
    if quiet and entry.alert.kind not in settings.critical:
        return True
    since = now - timedelta(hours=settings.cooldown_hours)
    return any(sent.at > since and entry.alert.topic in sent.topics for sent in state.sent)


def is_quiet(quiet: QuietHours, now: datetime) -> bool:
    """Whether a moment lies in the quiet hours, by the wall clock of their zone: start included, end not."""
    local = now.astimezone(ZoneInfo(quiet.zone)).time()
    if quiet.start <= quiet.end:
        return quiet.start <= local < quiet.end
    return local >= quiet.start or local < quiet.end


def is_hopeless(entry: OutboxEntry, state: ChannelState, settings: AlertSettings, now: datetime) -> bool:
    """Whether an alert is given up: it was refused, or the channel was dead, for `give_up_hours`."""
    limit = timedelta(hours=settings.give_up_hours)
    trial = state.tried.get(entry.id)
    refused = trial is not None and trial.attempts >= LEAST_ATTEMPTS and now - trial.first >= limit
    if state.failing_since is None or state.failures < LEAST_ATTEMPTS:
        return refused
    return refused or now - max(state.failing_since, datetime.fromisoformat(entry.alert.created)) >= limit


def _newest_first(group: list[OutboxEntry]) -> list[OutboxEntry]:
    return sorted(group, key=lambda entry: (entry.alert.created, entry.id), reverse=True)


def _rank(group: list[OutboxEntry], state: ChannelState, settings: AlertSettings) -> tuple[int, bool, str, str]:
    """What was tried least comes first, so that a message that a channel refuses blocks no other one."""
    lead = group[0]
    tried = state.tried.get(lead.id)
    uncritical = lead.alert.kind not in settings.critical
    return tried.attempts if tried else 0, uncritical, lead.alert.created, lead.id
