"""What is known of a channel: what it took lately, what it did not take yet, and how it fails."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from influcoder.settings.alerts import AlertSettings
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import move, read

_REMEDY = "Delete it: the channel then forgets what it took lately."
HOUR = timedelta(hours=1)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Sent(_Record):
    """A message that the channel took.

    Args:
        at: when.
        topics: what it was about.
        message: its id; empty in records of earlier versions.
        alerts: ids of the alerts in it; none in records of earlier versions.
    """

    at: AwareDatetime
    topics: tuple[str, ...]
    message: str = ""
    alerts: tuple[str, ...] = ()


class Trial(_Record):
    """An alert that did not arrive yet.

    Args:
        first: when it was tried first.
        attempts: how often it was tried.
    """

    first: AwareDatetime
    attempts: int


class ChannelState(_Record):
    """What is known of a channel.

    Args:
        sent: messages that count for the limit or a cooldown.
        tried: alerts that did not arrive yet, by id.
        failures: attempts that failed in a row.
        failing_since: the first of them.
        retry_at: before this moment the channel is left alone.
        error: what it said last, without secrets.
    """

    sent: tuple[Sent, ...] = ()
    tried: dict[str, Trial] = {}
    failures: int = 0
    failing_since: AwareDatetime | None = None
    retry_at: AwareDatetime | None = None
    error: str = ""

    def succeeded(self, sent: Sent, settings: AlertSettings) -> "ChannelState":
        """The state after a message arrived."""
        kept = sent.at - max(HOUR, timedelta(hours=settings.cooldown_hours))
        return ChannelState(sent=(*(old for old in self.sent if old.at > kept), sent), tried=self._without(sent.alerts))

    def failed(self, alerts: Iterable[str], error: str, settings: AlertSettings, now: datetime) -> "ChannelState":
        """The state after a message did not arrive."""
        trials = {alert: self.tried.get(alert, Trial(first=now, attempts=0)) for alert in alerts}
        tried = {a: trial.model_copy(update={"attempts": trial.attempts + 1}) for a, trial in trials.items()}
        failures = self.failures + 1
        return self.model_copy(
            update={
                "tried": {**self.tried, **tried},
                "failures": failures,
                "failing_since": self.failing_since or now,
                "retry_at": now + backoff(failures, settings),
                "error": error,
            }
        )

    def forgot(self, alerts: Iterable[str]) -> "ChannelState":
        """The state without alerts that are given up."""
        return self.model_copy(update={"tried": self._without(alerts)})

    def message_of(self, alert: str) -> str | None:
        """The message that an alert arrived in; None where it did not, or long ago."""
        return next((sent.message for sent in self.sent if alert in sent.alerts), None)

    def attempts(self, alert: str) -> int:
        """How often an alert was tried in vain."""
        return self.tried[alert].attempts if alert in self.tried else 0

    def _without(self, alerts: Iterable[str]) -> dict[str, Trial]:
        gone = set(alerts)
        return {alert: trial for alert, trial in self.tried.items() if alert not in gone}


def backoff(failures: int, settings: AlertSettings) -> timedelta:
    """How long a channel is left alone after so many failures in a row: doubling, up to a limit."""
    doubled = settings.retry_minutes * 2.0 ** min(failures - 1, 60)
    return timedelta(minutes=min(doubled, max(settings.retry_minutes, settings.retry_at_most_minutes)))


def state_of(store: ObjectStore, channel: str) -> ChannelState:
    """What is known of a channel.

    Raises:
        IntegrityError: the record is damaged.
    """
    return read(store, _key(channel), ChannelState, _REMEDY) or ChannelState()


def change_state(store: ObjectStore, channel: str, change: Callable[[ChannelState], ChannelState]) -> None:
    """Note something about a channel."""
    move(store, _key(channel), ChannelState, lambda state: change(state or ChannelState()), _REMEDY)


def _key(channel: str) -> str:
    return f"alerts/channels/{channel}.json"
