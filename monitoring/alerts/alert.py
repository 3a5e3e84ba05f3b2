"""An alert: what happened, how sure, what the loop does about it, and what its reader can do."""

import json

from pydantic import BaseModel, ConfigDict, Field

from influcoder.settings.alerts import AlertKind
from influcoder.storage.object_store import sha256

# The first figure of an alert stands in its subject line; a phone shows about this much of one.
TITLE = 140


class Figure(BaseModel):
    """A number with its interval.

    Args:
        name: what it is, in a few words.
        value: the number.
        lo: lower end of its 95 % interval; None where it has none.
        hi: upper end.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    name: str
    value: float
    lo: float | None = None
    hi: float | None = None

    @property
    def interval(self) -> str:
        """The interval in words; empty where there is none."""
        return "" if self.lo is None or self.hi is None else f"[{self.lo:.3f}, {self.hi:.3f}]"

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3f} {self.interval}".rstrip()


class Alert(BaseModel):
    """Something that a person must hear of.

    Args:
        kind: what raised it.
        subject: what it is about, such as `encoder 3`; a cooldown holds for one kind and subject.
        occurrence: what happened exactly, such as the id of a check; the same occurrence is told once.
        title: one line that stands for itself.
        what: what happened, a few sentences.
        sure: how sure that is, in words.
        figures: the numbers behind it, with their intervals.
        doing: what the loop does about it.
        todo: what the reader can do, one line each; words in backquotes are commands.
        links: addresses by the words to show for them.
        created: UTC time, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: AlertKind
    subject: str
    occurrence: str
    title: str = Field(max_length=TITLE)
    what: str
    sure: str = ""
    figures: tuple[Figure, ...] = ()
    doing: str
    todo: tuple[str, ...] = ()
    links: dict[str, str] = {}
    created: str

    @property
    def id(self) -> str:
        """Hash of kind, subject and occurrence: an event that is seen twice has one alert."""
        return sha256(json.dumps([self.kind, self.subject, self.occurrence]).encode())[:16]

    @property
    def topic(self) -> str:
        """Kind and subject, which is what a cooldown holds for."""
        return f"{self.kind}: {self.subject}"

    def with_links(self, links: dict[str, str]) -> "Alert":
        """The same alert with more links."""
        return self.model_copy(update={"links": {**self.links, **links}})


class OutboxEntry(BaseModel):
    """An alert in the outbox.

    Args:
        alert: what was raised.
        channels: names of the channels that it has to reach, as they were when it was raised.
    """

    model_config = ConfigDict(frozen=True)

    alert: Alert
    channels: tuple[str, ...]

    @property
    def id(self) -> str:
        """The alert's id."""
        return self.alert.id
