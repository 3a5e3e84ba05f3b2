"""How the outbox stands: what waits, what failed, what was given up."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from influcoder.core.errors import InflucoderError
from influcoder.settings.alerts import AlertSettings
from influcoder.storage.object_store import READERS, ObjectStore
from monitoring.alerts.alert import OutboxEntry
from monitoring.alerts.channel_state import state_of
from monitoring.alerts.channels import examine
from monitoring.alerts.outbox import Delivery, Outbox, Outcome


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
