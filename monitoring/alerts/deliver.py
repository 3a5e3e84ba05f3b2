"""The deliverer: send, then note. It may die at any point, and any number of it may run at once.

Of two deliverers the one that holds the channel's lease sends. One that dies between sending and noting has its last
message sent again by the next one, once the lease is over: at least once, and never a message lost.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from influcoder.core.errors import BusyError, IntegrityError
from influcoder.core.processes import mark
from influcoder.settings.alerts import AlertChannel, AlertSettings
from influcoder.storage.lease import held
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.alert import OutboxEntry
from monitoring.alerts.channel_state import Sent, change_state, state_of
from monitoring.alerts.channels import channels_for, scrubbed, send
from monitoring.alerts.compose import dead_channel
from monitoring.alerts.outbox import Delivery, Outbox, Outcome
from monitoring.alerts.policy import is_hopeless, next_message
from monitoring.alerts.render import render, severity

log = logging.getLogger("influcoder.alerts")
Clock = Callable[[], datetime]


@dataclass
class Round:
    """What one round of delivery did.

    Args:
        delivered: messages that arrived, by channel.
        failed: what a channel said that took none, by channel.
        given_up: ids of alerts that will not be tried again, by channel.
    """

    delivered: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    given_up: dict[str, list[str]] = field(default_factory=dict)


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def deliver(
    settings: AlertSettings, store: ObjectStore, clock: Clock = utc_now, patience: float | None = None
) -> Round:
    """Send what may be sent now, on every channel at once.

    Args:
        settings: channels and limits.
        store: holds the outbox.
        clock: what time it is.
        patience: seconds to wait; what still runs then goes on by itself. None waits for all.
    Raises:
        StoreError: the outbox can't be read.
    """
    outbox, done, threads = Outbox(store), Round(), []
    for channel in [channel for channel in settings.channels if outbox.waiting(channel.name)]:
        deliverer = _Deliverer(settings, channel, store, clock, done)
        # A daemon: a mail server that hangs must not keep a flow's process from ending.
        threads.append(threading.Thread(target=deliverer.run, daemon=True))
        threads[-1].start()
    end = None if patience is None else time.monotonic() + patience
    for thread in threads:
        thread.join(None if end is None else max(0.0, end - time.monotonic()))
    return done


class _Deliverer:
    def __init__(
        self, settings: AlertSettings, channel: AlertChannel, store: ObjectStore, clock: Clock, done: Round
    ) -> None:
        self._settings, self._channel, self._name = settings, channel, channel.name
        self._store, self._outbox = store, Outbox(store)
        self._clock, self._done = clock, done

    def run(self) -> None:
        """Send until nothing may be sent, somebody else is at it, or the channel fails."""
        key = f"control/alerts/{self._name}.json"
        try:
            with held(self._store, key, mark(), self._settings.lease_seconds) as lease:
                waiting = self._read()
                self._give_up(waiting)
                while waiting and self._step(waiting):
                    lease.check()
        except BusyError as error:
            log.debug("channel %s is left alone: %s", self._name, error)
        except Exception as error:
            # One channel's trouble, such as a damaged record, must not be silent, and must not stop the others.
            self._fails(scrubbed(f"{type(error).__name__}: {error}", self._channel))

    def _read(self) -> dict[str, OutboxEntry]:
        """What waits; what has arrived, and was not noted in full by a sender that died, is noted now."""
        found, state = dict[str, OutboxEntry](), state_of(self._store, self._name)
        for alert in self._outbox.waiting(self._name):
            try:
                if self._outbox.delivery(alert, self._name):
                    self._outbox.clear(alert, self._name)
                elif message := state.message_of(alert):
                    self._settle(alert, Outcome.DELIVERED, 1, self._clock(), message=message)
                elif self._outbox.has(alert):
                    found[alert] = self._outbox.read(alert)
            except IntegrityError as error:
                log.error("alert %s is skipped: %s", alert, error)
        return found

    def _step(self, waiting: dict[str, OutboxEntry]) -> bool:
        """Send one message, then note it; whether there may be another. What has arrived leaves `waiting`."""
        state, now = state_of(self._store, self._name), self._clock()
        message = next_message(list(waiting.values()), state, self._settings, now)
        if message is None:
            return False
        alerts = tuple(entry.id for entry in message.alerts)
        error = send(self._channel, render(message), severity(message))
        if error:
            self._fails(error)
            change_state(self._store, self._name, lambda known: known.failed(alerts, error, self._settings, now))
            return False
        sent = Sent(at=now, topics=message.topics, message=message.id, alerts=alerts)
        # From here on nothing of it is sent again, wherever this process dies.
        change_state(self._store, self._name, lambda known: known.succeeded(sent, self._settings))
        for alert in alerts:
            self._settle(alert, Outcome.DELIVERED, state.attempts(alert) + 1, now, message=message.id)
            del waiting[alert]
        self._done.delivered.setdefault(self._name, []).append(message.id)
        return True

    def _give_up(self, waiting: dict[str, OutboxEntry]) -> None:
        state, now = state_of(self._store, self._name), self._clock()
        gone = [entry for entry in waiting.values() if is_hopeless(entry, state, self._settings, now)]
        if not gone:
            return
        alert = dead_channel(self._name, gone, state.failing_since, now)
        self._outbox.post(alert, [name for name in channels_for(alert.kind, self._settings) if name != self._name])
        for lost in gone:
            self._settle(lost.id, Outcome.GIVEN_UP, state.attempts(lost.id), now, error=state.error)
            log.error("alert %s never reached channel %s: %s", lost.id, self._name, lost.alert.title)
            del waiting[lost.id]
        change_state(self._store, self._name, lambda known: known.forgot([entry.id for entry in gone]))
        self._done.given_up[self._name] = [entry.id for entry in gone]

    def _settle(
        self, alert: str, outcome: Outcome, attempts: int, now: datetime, message: str = "", error: str = ""
    ) -> None:
        record = Delivery(
            alert=alert,
            channel=self._name,
            outcome=outcome,
            message=message,
            attempts=attempts,
            error=error,
            at=now.replace(microsecond=0).isoformat(),
        )
        self._outbox.settle(record)

    def _fails(self, error: str) -> None:
        self._done.failed[self._name] = error
        log.warning("channel %s did not take a message: %s", self._name, error)
