"""The outbox in the store: an alert is written before it is delivered, and each delivery is written down.

`alerts/outbox/<alert>/alert.json` is created once, `alerts/outbox/<alert>/to/<channel>.json` once the alert has reached
the channel or was given up. `alerts/waiting/<channel>/<alert>` stands from before the first until after the second, so
that what waits is found without a look at all that was ever raised.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import InflucoderError, IntegrityError
from influcoder.settings.alerts import AlertSettings
from influcoder.storage.object_store import READERS, ObjectStore
from influcoder.storage.records import keep, read, refuse_other, to_json
from monitoring.alerts.alert import Alert, OutboxEntry
from monitoring.alerts.channel_state import state_of
from monitoring.alerts.channels import examine

_FOLDER = "alerts/outbox/"
_ALERT = "alert"
_TO = "to/"
_WAITING = "alerts/waiting/"


class Outcome(StrEnum):
    """How the way of an alert to a channel ended."""

    DELIVERED = "delivered"
    GIVEN_UP = "given up"


class Delivery(BaseModel):
    """The end of an alert's way to a channel.

    Args:
        alert: id of the alert.
        channel: name of the channel.
        outcome: how it ended.
        message: id of the message that carried it; empty where it was given up.
        attempts: how often it was tried.
        error: what the channel said last, without secrets; empty where it took the message.
        at: UTC time, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    alert: str
    channel: str
    outcome: Outcome
    message: str = ""
    attempts: int
    error: str = ""
    at: str


class Outbox:
    """Every alert that was raised, and how far it got.

    Args:
        store: holds all of it; each method raises StoreError where it does not answer.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def post(self, alert: Alert, channels: Sequence[str]) -> bool:
        """Write an alert down; whether it is a new one.

        Args:
            alert: what was raised.
            channels: names of the channels that it has to reach.
        """
        if self.has(alert.id):
            return False
        for channel in channels:
            self._store.put(_waiting(channel, alert.id), b"")
        entry = OutboxEntry(alert=alert, channels=tuple(channels))
        return self._store.keep(_key(alert.id, _ALERT), to_json(entry))

    def has(self, alert: str) -> bool:
        """Whether an alert is in the outbox; one that was killed while it was written is not."""
        return self._store.exists(_key(alert, _ALERT))

    def waiting(self, channel: str) -> list[str]:
        """Ids of alerts that may not have reached a channel yet."""
        return [key.rpartition("/")[2] for key in self._store.keys(_waiting(channel, ""))]

    def ids(self) -> list[str]:
        """Ids of all alerts."""
        keys = self._store.keys(_FOLDER)
        return [key.removeprefix(_FOLDER).partition("/")[0] for key in keys if key.endswith(f"/{_ALERT}.json")]

    def read(self, alert: str) -> OutboxEntry:
        """An alert by its id.

        Raises:
            IntegrityError: there is none, or it is not what its id stands for.
        """
        key = _key(alert, _ALERT)
        entry = read(self._store, key, OutboxEntry, "Delete it.")
        if entry is None:
            raise IntegrityError(f"there is no alert {alert!r} in {self._store.uri('')}.")
        refuse_other(self._store, key, entry.id, alert, "Delete it.")
        return entry

    def settle(self, delivery: Delivery) -> None:
        """Write down how an alert's way to a channel ended; the first record stands."""
        keep(self._store, _key(delivery.alert, _TO + delivery.channel), delivery)
        self.clear(delivery.alert, delivery.channel)

    def clear(self, alert: str, channel: str) -> None:
        """Forget that an alert waits for a channel, once that is written down."""
        self._store.delete(_waiting(channel, alert))

    def expire(self, seconds: float) -> int:
        """Delete alerts that were raised so long ago and that no channel waits for; how many went.

        The alert goes last, so that what a killed run leaves is found by the next one.
        """
        waiting = {key.rpartition("/")[2] for key in self._store.keys(_WAITING)}
        ending = f"/{_ALERT}.json"
        old = [key for key in self._store.older(_FOLDER, seconds) if key.endswith(ending)]
        gone = [key for key in old if key.removeprefix(_FOLDER).removesuffix(ending) not in waiting]
        for key in gone:
            for delivery in self._store.keys(f"{key.removesuffix(ending)}/{_TO}"):
                self._store.delete(delivery)
            self._store.delete(key)
        return len(gone)

    def delivery(self, alert: str, channel: str) -> Delivery | None:
        """How an alert's way to a channel ended, None where it is still on it."""
        return read(self._store, _key(alert, _TO + channel), Delivery, "Delete it; the alert may be sent again.")


def _key(alert: str, name: str) -> str:
    return f"{_FOLDER}{alert}/{name}.json"


def _waiting(channel: str, alert: str) -> str:
    return f"{_WAITING}{channel}/{alert}"


@dataclass(frozen=True)
class Way:
    """An alert and how far it got.

    Args:
        entry: the alert.
        deliveries: what came of it, by channel; None where it still waits.
    """

    entry: OutboxEntry
    deliveries: dict[str, Delivery | None]

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Channels that it has not reached yet."""
        return tuple(name for name, delivery in self.deliveries.items() if delivery is None)

    @property
    def lost_on(self) -> tuple[str, ...]:
        """Channels that it was given up on."""
        return tuple(n for n, d in self.deliveries.items() if d is not None and d.outcome is Outcome.GIVEN_UP)


def ways(store: ObjectStore) -> list[Way]:
    """Every alert, oldest first.

    Raises:
        IntegrityError: a record is damaged.
    """
    outbox = Outbox(store)

    def way(alert: str) -> Way:
        entry = outbox.read(alert)
        return Way(entry, {name: outbox.delivery(entry.id, name) for name in entry.channels})

    with ThreadPoolExecutor(READERS) as pool:
        listed = list(pool.map(way, outbox.ids()))
    return sorted(listed, key=lambda way: (way.entry.alert.created, way.entry.id))


def problems(settings: AlertSettings, store: ObjectStore, listed: list[Way], now: datetime) -> Iterator[str]:
    """What is wrong with alerting, one sentence each; secrets are in none."""
    names = {channel.name for channel in settings.channels}
    for channel in settings.channels:
        try:
            examine(channel)
            state = state_of(store, channel.name)
        except InflucoderError as error:
            yield str(error)
            continue
        if state.failures:
            yield f"alerts do not reach channel {channel.name} ({state.failures} failures): {state.error}"
    for name in dict.fromkeys(name for way in listed for name in way.waits_for if name not in names):
        yield f"alerts wait for channel {name}, which the settings do not name. Add it again under that name"
    # A channel that works again does not make what it missed heard; it is shown for a week.
    lost = [w for w in listed if w.lost_on and (now - datetime.fromisoformat(w.entry.alert.created)).days < 7]
    if lost:
        yield f"{len(lost)} alerts were given up. Run: influcoder alerts list"
