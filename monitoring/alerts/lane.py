"""A channel's lane: whose turn it is, what it took lately, and how it fails; one object moved by compare-and-swap."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from influcoder.core.errors import ChangedMeanwhileError, IntegrityError
from influcoder.settings.alerts import AlertSettings
from influcoder.storage.object_store import ObjectStore

# Longer than any channel takes to answer: Apprise waits 15 s for a mail server and 8 s for a web server.
LEASE = timedelta(minutes=5)
HOUR = timedelta(hours=1)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Claim(_Record):
    """A message that somebody is sending. Past its time, the sender died: the same message is sent again.

    Args:
        message: id of the message.
        alerts: ids of the alerts in it, in their order.
        topics: what they are about.
        digest: whether it only lists them.
        at: when it was claimed.
        token: tells two senders of the same message apart.
    """

    message: str
    alerts: tuple[str, ...]
    topics: tuple[str, ...]
    digest: bool
    at: AwareDatetime
    token: str

    @property
    def until(self) -> datetime:
        """When the lease ends."""
        return self.at + LEASE


class Sent(_Record):
    """A message that the channel took.

    Args:
        at: when.
        topics: what it was about.
    """

    at: AwareDatetime
    topics: tuple[str, ...]


class Trial(_Record):
    """An alert that did not arrive yet.

    Args:
        first: when it was tried first.
        attempts: how often it was tried.
    """

    first: AwareDatetime
    attempts: int


class Lane(_Record):
    """What is known of a channel.

    Args:
        claim: the message that is being sent.
        sent: messages that count for the limit or a cooldown.
        tried: alerts that did not arrive yet, by id.
        failures: attempts that failed in a row.
        failing_since: the first of them.
        retry_at: before this moment the channel is left alone.
        error: what it said last, without secrets.
    """

    claim: Claim | None = None
    sent: tuple[Sent, ...] = ()
    tried: dict[str, Trial] = {}
    failures: int = 0
    failing_since: AwareDatetime | None = None
    retry_at: AwareDatetime | None = None
    error: str = ""

    def claimed(self, claim: Claim, now: datetime) -> "Lane":
        """The lane while a message is being sent; an attempt counts from here on, since its sender may die."""
        trials = {alert: self.tried.get(alert, Trial(first=now, attempts=0)) for alert in claim.alerts}
        tried = {a: trial.model_copy(update={"attempts": trial.attempts + 1}) for a, trial in trials.items()}
        return self.model_copy(update={"claim": claim, "tried": {**self.tried, **tried}})

    def succeeded(self, claim: Claim, settings: AlertSettings, now: datetime) -> "Lane":
        """The lane after a message arrived, which may be long ago where its sender died before it noted that."""
        kept = now - max(HOUR, timedelta(hours=settings.cooldown_hours))
        sent = (*(old for old in self.sent if old.at > kept), Sent(at=claim.at, topics=claim.topics))
        return Lane(sent=sent, tried=self._without(claim.alerts))

    def failed(self, error: str, settings: AlertSettings, now: datetime) -> "Lane":
        """The lane after its message did not arrive."""
        failures = self.failures + 1
        return self.model_copy(
            update={
                "claim": None,
                "failures": failures,
                "failing_since": self.failing_since or now,
                "retry_at": now + backoff(failures, settings),
                "error": error,
            }
        )

    def forgot(self, alerts: Iterable[str]) -> "Lane":
        """The lane without alerts that are settled; a claim on them ends."""
        claim = self.claim if self.claim and not set(self.claim.alerts) <= set(alerts) else None
        return self.model_copy(update={"claim": claim, "tried": self._without(alerts)})

    def _without(self, alerts: Iterable[str]) -> dict[str, Trial]:
        gone = set(alerts)
        return {alert: trial for alert, trial in self.tried.items() if alert not in gone}


def backoff(failures: int, settings: AlertSettings) -> timedelta:
    """How long a channel is left alone after so many failures in a row: doubling, up to a limit."""
    doubled = settings.retry_minutes * 2.0 ** min(failures - 1, 60)
    return timedelta(minutes=min(doubled, max(settings.retry_minutes, settings.retry_at_most_minutes)))


class Lanes:
    """The lanes of all channels, in the store.

    Args:
        store: holds `alerts/channels/<channel>.json`.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self, channel: str) -> tuple[Lane, str | None]:
        """A channel's lane and its version, for `swap`.

        Raises:
            IntegrityError: the record is damaged.
        """
        data, version = self._store.read_if_there(_key(channel))
        try:
            return (Lane.model_validate_json(data) if data else Lane()), version
        except ValidationError as error:
            raise IntegrityError(f"{self._store.uri(_key(channel))} is no lane.", "Delete it.") from error

    def swap(self, channel: str, lane: Lane, expected: str | None) -> bool:
        """Write a lane where it is still the version that was read; whether it was."""
        try:
            self._store.swap(_key(channel), lane.model_dump_json(indent=1).encode(), expected)
        except ChangedMeanwhileError:
            return False
        return True


def _key(channel: str) -> str:
    return f"alerts/channels/{channel}.json"
