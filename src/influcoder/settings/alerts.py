"""Settings of alerts: who hears of what goes wrong, and how often."""

from datetime import time
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator

from influcoder.settings.section import Section


class AlertKind(StrEnum):
    """What raises an alert."""

    DRIFT = "drift"
    GATE = "gate"
    BREAKER = "breaker"
    SCHEDULE = "schedule"
    VALIDATION = "validation"
    CHANNEL = "channel"
    APPROVAL = "approval"
    TEST = "test"


class AlertChannel(Section):
    """Where alerts go.

    Args:
        url: an Apprise URL; it holds tokens and passwords, so it is shown nowhere.
        name: what the channel is called; the URL's schema unless given. The outbox knows a channel by its name, so a
            token can change and what waits still arrives.
        only: the kinds that it takes; all unless given.
    """

    url: SecretStr
    name: str = Field("", pattern=r"^[a-z0-9-]*$", max_length=40)
    only: tuple[AlertKind, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, given: Any) -> Any:
        return {"url": given} if isinstance(given, str | SecretStr) else given


class QuietHours(Section):
    """When only critical alerts are delivered: from `start` until `end`, over midnight where that is earlier.

    Args:
        start: wall-clock time, such as "22:00".
        end: wall-clock time; what was held back is delivered from then on.
        zone: name of the time zone that both are in.
    """

    start: time
    end: time
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (OSError, ValueError) as error:
            raise ValueError(f"{zone!r} is no time zone; give a name such as Europe/London") from error
        return zone


class AlertSettings(Section):
    """Who hears of what goes wrong, and how often.

    Args:
        channels: Apprise URLs, or tables of `url`, `name` and `only`.
        per_hour: messages to one channel within any hour, at most; what is held back goes into one of them.
        cooldown_hours: between two messages to a channel about the same kind and subject.
        quiet: when only critical alerts are delivered.
        critical: the kinds that quiet hours do not hold back.
        check_within_hours: without a check for so long, the schedule is broken.
        retry_minutes: until a channel that failed is tried again; doubles with each failure in a row.
        retry_at_most_minutes: where that ends.
        give_up_hours: how long an alert is tried on a channel after the first failure.
        keep_days: how long an alert stays in the outbox once no channel waits for it.
        lease_seconds: without a sign of life after which a deliverer counts as dead, and its channel is taken over.
        patience_seconds: how long a flow waits for delivery before it goes on; what is not delivered by then is
            delivered later.
    """

    channels: tuple[AlertChannel, ...] = ()
    per_hour: int = Field(10, ge=1)
    cooldown_hours: float = Field(6.0, ge=0)
    quiet: QuietHours | None = None
    critical: tuple[AlertKind, ...] = (AlertKind.BREAKER, AlertKind.SCHEDULE, AlertKind.CHANNEL, AlertKind.TEST)
    check_within_hours: float = Field(26.0, gt=0)
    retry_minutes: float = Field(1.0, gt=0)
    retry_at_most_minutes: float = Field(60.0, gt=0)
    give_up_hours: float = Field(72.0, gt=0)
    keep_days: float = Field(90.0, ge=1)
    lease_seconds: float = Field(60.0, gt=0)
    patience_seconds: float = Field(10.0, ge=0)

    @model_validator(mode="after")
    def _named(self) -> "AlertSettings":
        """Give each channel a name of its own."""
        named: list[AlertChannel] = []
        for channel in self.channels:
            schema, is_url, _ = channel.url.get_secret_value().lower().partition("://")
            name = channel.name or (schema if is_url and schema.isalnum() and len(schema) <= 20 else "channel")
            taken = {other.name for other in named}
            if channel.name and name in taken:
                raise ValueError(f"two channels are called {name!r}; give each a name of its own")
            free = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(self.channels) + 2))) if n not in taken)
            named.append(channel.model_copy(update={"name": free}))
        object.__setattr__(self, "channels", tuple(named))
        return self
