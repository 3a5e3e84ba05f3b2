"""The deliverer: claim, send, note. It may die at any point, and any number of it may run at once.

A claim with a lease is written before a message is sent, and the outcome after it. Of two deliverers the one whose
claim stands sends. One that dies in between leaves its claim behind, and the next one sends the same message again
once the lease is over: at least once, and never a message lost.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from influcoder.core.errors import IntegrityError
from influcoder.settings.alerts import AlertChannel, AlertSettings
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.alert import Posted
from monitoring.alerts.channels import channels_for, scrubbed, send
from monitoring.alerts.compose import dead_channel
from monitoring.alerts.lane import Claim, Lane, Lanes
from monitoring.alerts.outbox import Delivery, Outbox, Outcome
from monitoring.alerts.policy import Message, is_hopeless, next_message
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
    waiting = {channel.name: outbox.waiting(channel.name) for channel in settings.channels}
    for channel in settings.channels:
        if waiting[channel.name]:
            worker = _Worker(settings, channel, store, clock, done)
            # A daemon: a mail server that hangs must not keep a flow's process from ending.
            threads.append(threading.Thread(target=worker.run, args=(waiting[channel.name],), daemon=True))
            threads[-1].start()
    end = None if patience is None else time.monotonic() + patience
    for thread in threads:
        thread.join(None if end is None else max(0.0, end - time.monotonic()))
    return done


class _Worker:
    def __init__(
        self, settings: AlertSettings, channel: AlertChannel, store: ObjectStore, clock: Clock, done: Round
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._outbox = Outbox(store)
        self._lanes = Lanes(store)
        self._clock = clock
        self._done = done

    def run(self, waiting: list[str]) -> None:
        """Send until nothing may be sent, somebody else is at it, or the channel fails."""
        try:
            posted = self._read(waiting)
            self._give_up(posted)
            while posted and self._step(posted):
                pass
        except Exception as error:
            # One channel's trouble, such as a damaged lane, must not be silent, and must not stop the others.
            self._fails(scrubbed(f"{type(error).__name__}: {error}", self._channel))

    def _read(self, waiting: list[str]) -> dict[str, Posted]:
        found = {}
        for alert in waiting:
            try:
                if self._outbox.delivery(alert, self._channel.name):
                    self._outbox.clear(alert, self._channel.name)
                elif self._outbox.has(alert):
                    found[alert] = self._outbox.read(alert)
            except IntegrityError as error:
                log.error("alert %s is skipped: %s", alert, error)
        return found

    def _step(self, posted: dict[str, Posted]) -> bool:
        """Send one message; whether there may be another. What is settled leaves `posted`."""
        lane, version = self._lanes.read(self._channel.name)
        now = self._clock()
        if lane.claim and lane.claim.until > now:
            return False
        if lane.claim and self._arrived(lane.claim):
            return self._note(lane.claim, "", posted)
        message = _left_behind(lane.claim, posted) or next_message(list(posted.values()), lane, self._settings, now)
        if message is None:
            return False
        if settled := self._settled(message.alerts):
            for alert in settled:
                self._outbox.clear(alert, self._channel.name)
                del posted[alert]
            return True
        claim = Claim(
            message=message.id,
            alerts=tuple(p.id for p in message.alerts),
            topics=message.topics,
            digest=message.digest,
            at=now,
            token=secrets.token_hex(8),
        )
        if not self._lanes.swap(self._channel.name, lane.claimed(claim, now), version):
            return False
        return self._note(claim, send(self._channel, render(message), severity(message)), posted)

    def _arrived(self, claim: Claim) -> bool:
        """Whether the sender of a message that was left behind had begun to note that it arrived."""
        found = (self._outbox.delivery(alert, self._channel.name) for alert in claim.alerts)
        return any(delivery is not None and delivery.message == claim.message for delivery in found)

    def _settled(self, alerts: Iterable[Posted]) -> list[str]:
        """Those that somebody else has settled since they were listed; with the lane in hand there are no more."""
        return [p.id for p in alerts if self._outbox.delivery(p.id, self._channel.name)]

    def _note(self, claim: Claim, error: str, posted: dict[str, Posted]) -> bool:
        """Write down what came of a claim; deliveries first, since they say that nothing is sent again."""
        lane, version = self._lanes.read(self._channel.name)
        now = self._clock()
        if error:
            self._fails(error)
        else:
            for alert in claim.alerts:
                self._settle(alert, Outcome.DELIVERED, lane, now, message=claim.message)
                posted.pop(alert, None)
            self._done.delivered.setdefault(self._channel.name, []).append(claim.message)
        if lane.claim is None or lane.claim.token != claim.token:
            # The lease ran out and somebody else has the lane; what was delivered is written down all the same.
            return False
        ended = lane.failed(error, self._settings, now) if error else lane.succeeded(claim, self._settings, now)
        return self._lanes.swap(self._channel.name, ended, version) and not error

    def _give_up(self, posted: dict[str, Posted]) -> None:
        lane, version = self._lanes.read(self._channel.name)
        now = self._clock()
        if lane.claim and lane.claim.until > now:
            return
        hopeless = [p for p in posted.values() if is_hopeless(p, lane, self._settings, now)]
        settled = self._settled(hopeless)
        gone = [p for p in hopeless if p.id not in settled]
        if not gone or not self._lanes.swap(self._channel.name, lane.forgot([p.id for p in gone]), version):
            return
        self._tell_the_others(gone, lane, now)
        for lost in gone:
            self._settle(lost.id, Outcome.GIVEN_UP, lane, now, error=lane.error)
            log.error("alert %s never reached channel %s: %s", lost.id, self._channel.name, lost.alert.title)
            del posted[lost.id]
        self._done.given_up[self._channel.name] = [p.id for p in gone]

    def _tell_the_others(self, gone: list[Posted], lane: Lane, now: datetime) -> None:
        alert = dead_channel(self._channel.name, gone, lane, now)
        others = [name for name in channels_for(alert.kind, self._settings) if name != self._channel.name]
        self._outbox.post(alert, others)

    def _settle(
        self, alert: str, outcome: Outcome, lane: Lane, now: datetime, message: str = "", error: str = ""
    ) -> None:
        record = Delivery(
            alert=alert,
            channel=self._channel.name,
            outcome=outcome,
            message=message,
            attempts=lane.tried[alert].attempts if alert in lane.tried else 0,
            error=error,
            at=now.replace(microsecond=0).isoformat(),
        )
        self._outbox.settle(record)

    def _fails(self, error: str) -> None:
        self._done.failed[self._channel.name] = error
        log.warning("channel %s did not take a message: %s", self._channel.name, error)


def _left_behind(claim: Claim | None, posted: Mapping[str, Posted]) -> Message | None:
    """The message of a sender that died."""
    alerts = tuple(posted[alert] for alert in claim.alerts if alert in posted) if claim else ()
    return Message(alerts, claim.digest) if claim and alerts else None
