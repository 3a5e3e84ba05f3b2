"""What the encoder was really asked, so that spot labels can be drawn from it: a log of queries in the store.

An object is one call: `asked/YYYY-MM-DD/HHMMSS-ffffff-<sha256>.jsonl`, UTC, written once, a line a query. A line has
the fields of `Question` and nothing else: neither who asked, nor from where, nor anything of the settings. A text that
looks like a credential is not written at all. Whole days are deleted when they are older than `asked.keep_days`.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from influcoder.core.errors import IntegrityError, StoreError
from influcoder.samples import ASKED, Corpus, Sample
from influcoder.settings.labels import AskedSettings
from influcoder.storage.object_store import ObjectStore, sha256

logger = logging.getLogger(__name__)
SCHEMA = 1
_FOLDER = "asked/"
# Forms that issuers document: private keys, and tokens of AWS, GitHub, GitLab, Slack, Google, and model services.
_CREDENTIAL = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[0-9A-Za-z]{36,}"
    r"|\bgithub_pat_\w{22,}"
    r"|\bglpat-[\w-]{20,}"
    r"|\bxox[abeprs]-[0-9A-Za-z-]{10,}"
    r"|\bAIza[\w-]{35}"
    r"|\bsk-[\w-]{20,}"
    r"|\bhf_[0-9A-Za-z]{30,}"
    r"|(?i:\bbearer\s+[\w.~+/-]{20,})"
)


class Question(BaseModel):
    """A query as it was asked.

    Args:
        schema_version: of this record.
        asked: UTC time, ISO 8601.
        context: what the decoder was given, in its chat format.
        target: what it answered.
        text: what a text encoder saw of both.
        encoder: version that answered.
        decoder: fingerprint of the decoder that the answer was about.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA
    asked: datetime
    context: str
    target: str = Field(pattern=r"\S")
    text: str
    encoder: str
    decoder: str

    @property
    def sample(self) -> Sample:
        """The query as a sample; equal content is one sample, whenever it was asked."""
        content = Sample("", self.context, self.target, self.text, ASKED)
        return Sample(f"{ASKED}{content.hash[:16]}", self.context, self.target, self.text, ASKED)


@dataclass(frozen=True)
class Batch:
    """One object of the log.

    Args:
        key: where it is.
        questions: what it holds; none where it can't be read.
        damaged: why it can't be read; empty where it can.
    """

    key: str
    questions: tuple[Question, ...]
    damaged: str = ""


def remember(
    store: ObjectStore,
    settings: AskedSettings,
    queries: Sequence[Sample],
    encoder: str,
    decoder: str,
    private: bool = False,
    at: datetime | None = None,
) -> str | None:
    """Log what was asked in one call; an answer never fails for it.

    Args:
        store: where the log is.
        settings: whether there is a log at all.
        queries: what was asked.
        encoder: version that answered.
        decoder: fingerprint of the decoder that the answer was about.
        private: this call is not logged.
        at: when it was asked; now unless given.
    Returns:
        the key, or None where nothing was written.
    """
    if private or not settings.log:
        return None
    moment = at or datetime.now(UTC)
    about: dict[str, Any] = {"asked": moment, "encoder": encoder, "decoder": decoder}
    asked = [query for query in queries if not holds_credential(query)]
    if not asked:
        return None
    try:
        found = [Question(context=query.context, target=query.target, text=query.text, **about) for query in asked]
        data = "\n".join(item.model_dump_json() for item in found).encode()
    except ValueError as error:
        # Half a surrogate pair is a text to Python and none to JSON.
        logger.warning("what was asked is not logged: %s", error)
        return None
    key = f"{_FOLDER}{moment:%Y-%m-%d/%H%M%S-%f}-{sha256(data)[:16]}.jsonl"
    try:
        store.keep(key, data)
    except StoreError as error:
        logger.warning("what was asked is not logged: %s", error)
        return None
    return key


def holds_credential(query: Sample) -> bool:
    """Whether a text looks as if it held a credential; a guard against accidents, no proof of its absence."""
    return any(_CREDENTIAL.search(part) for part in (query.context, query.target, query.text))


def parse(data: bytes) -> tuple[Question, ...]:
    """The questions of one object.

    Raises:
        IntegrityError: a line is no question of a version that is known.
    """
    try:
        found = tuple(Question.model_validate_json(line) for line in data.decode().split("\n"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise IntegrityError(f"it is no log of questions: {str(error).splitlines()[0]}.") from error
    unknown = {item.schema_version for item in found} - {SCHEMA}
    if unknown:
        raise IntegrityError(f"it has version {unknown.pop()} of the format, not {SCHEMA}.")
    return found


def read(store: ObjectStore, since: date | None = None) -> Iterator[Batch]:
    """The log, oldest first; an object that can't be read says why and stops nobody."""
    for key in keys(store):
        if since is None or day_of(key) >= since:
            try:
                yield Batch(key, parse(store.get(key)))
            except IntegrityError as error:
                yield Batch(key, (), str(error))


def keys(store: ObjectStore) -> list[str]:
    """Every object of the log, oldest first; what does not belong to it is left alone."""
    return [key for key in store.keys(_FOLDER) if _day(key) is not None]


def day_of(key: str) -> date:
    """The UTC day of an object."""
    found = _day(key)
    if found is None:
        raise IntegrityError(f"{key} is no object of the log of queries.")
    return found


def purge(store: ObjectStore, before: date | None = None) -> int:
    """Delete the log, or the days before one; the number of objects that are gone.

    What was drawn as a spot label stays in that label set, which never changes.
    """
    gone = [key for key in keys(store) if before is None or day_of(key) < before]
    for key in gone:
        store.delete(key)
    return len(gone)


def expire(store: ObjectStore, settings: AskedSettings, today: date | None = None) -> int:
    """Delete days that are older than they may be kept."""
    return purge(store, first_kept(settings, today))


def first_kept(settings: AskedSettings, today: date | None = None) -> date:
    """The oldest day that is kept."""
    return (today or datetime.now(UTC).date()) - timedelta(days=settings.keep_days)


def lately(store: ObjectStore, settings: AskedSettings, today: date | None = None) -> Corpus | None:
    """What was asked in the days that are kept, each content once, the latest first.

    Returns:
        None where nothing was, or where there is to be no log.
    """
    if not settings.log:
        return None
    samples: dict[str, Sample] = {}
    since = first_kept(settings, today)
    for batch in reversed(list(read(store, since))):
        if batch.damaged:
            logger.warning("%s is left out: %s", batch.key, batch.damaged)
        for question in batch.questions:
            sample = question.sample
            samples.setdefault(sample.hash, sample)
    return Corpus(ASKED, tuple(samples.values())) if samples else None


def rows(found: Sequence[Batch]) -> Iterator[str]:
    """The log as JSON lines; an object that can't be read is one that says why."""
    for batch in found:
        if batch.damaged:
            yield json.dumps({"key": batch.key, "unreadable": batch.damaged}, ensure_ascii=False)
        for question in batch.questions:
            yield json.dumps({"key": batch.key, **question.model_dump(mode="json")}, ensure_ascii=False)


def _day(key: str) -> date | None:
    parts = key.split("/")
    try:
        return date.fromisoformat(parts[1]) if len(parts) == 3 and key.endswith(".jsonl") else None
    except ValueError:
        return None
