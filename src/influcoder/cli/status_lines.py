"""What each line of the status says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from influcoder.cli.reach import PrefectServer
from influcoder.labelsets.manifest import latest
from influcoder.registry.champions import Champions
from influcoder.registry.encoder_version import EncoderVersion, agreement_figures, agreement_words
from influcoder.registry.journal import entries
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.settings.alerts import AlertSettings
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.outbox import problems, ways
from monitoring.causes.record import load_cause
from monitoring.checks.findings import Verdict
from monitoring.checks.record import Check, checks
from monitoring.loop.breaker import degraded, failures
from monitoring.loop.retraining import Case


@dataclass(frozen=True)
class Said:
    """A line: words for people, data for programs, and what is wrong."""

    words: str
    data: Any
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A question.

    Args:
        name: of the line.
        servers: that have to answer it.
        ask: the question.
    """

    name: str
    servers: tuple[str, ...]
    ask: Callable[[], Said]


def champion(registry: Registry) -> Said:
    """The encoder that answers; it is wrong that there is none."""
    found = registry.find(CHAMPION)
    if found is None:
        return Said("none", None, ("there is no champion yet. Run: influcoder train, then influcoder promote",))
    return version(found)


def version(found: EncoderVersion | None) -> Said:
    """An encoder version."""
    if found is None:
        return Said("none", None)
    words = (
        f"version {found.version}, agreement {agreement_words(found.tags)}, labels {found.label_set_id}, "
        f"decoder {found.decoder_fingerprint[:12]}"
    )
    behind = {"label_set": found.label_set_id, "decoder": found.decoder_fingerprint}
    return Said(words, {"version": found.version, **behind, **agreement_figures(found)})


def journal(store: ObjectStore, registry: Registry) -> Said:
    """How far the journal reaches, and whether the alias follows it."""
    state = Champions(store, registry).state()
    agrees = "the alias differs" if state.problem else "the alias agrees"
    wrong = (state.problem,) if state.problem else ()
    data: dict[str, Any] = {"entries": len(state.entries), "alias_agrees": not state.problem, "last": None}
    if not state.entries:
        return Said(f"no entries, {agrees}", data, wrong)
    last = state.entries[-1]
    said = f"version {last.version} {last.action} by {last.actor} at {last.created}"
    data["last"] = last.model_dump(mode="json", include={"number", "version", "action", "actor", "created"})
    return Said(f"{last.number} entries, chain intact, {agrees}; last: {said}", data, wrong)


def breaker(store: ObjectStore, settings: Settings) -> Said:
    """Whether retraining has stopped."""
    found, limit = entries(store, settings.mlflow.model), settings.retraining.failures
    said, row = degraded(found), len(failures(found))
    data = {"open": bool(said), "failures": row, "limit": limit}
    if said:
        return Said("open: retraining has stopped", data, (said,))
    return Said(f"closed, {row} of {limit} failures in a row", data)


def labels(store: ObjectStore) -> Said:
    """The newest label set to train from."""
    found = latest(store)
    return Said(found or "none", found)


def last_check(store: ObjectStore) -> Said:
    """What the last check found, why, and whether a drift is answered."""
    found = checks(store)
    if not found:
        return Said("none", None)
    last = found[-1]
    rho, cause = last.figures["rho"], load_cause(store, last.id)
    bounds = f", {last.bounds}" if last.bounds else ""
    why = f"; cause: {cause.cause}" if cause else ""
    spent = f"; {last.spent}" if last.spent else ""
    said = f"{last.verdict} at {last.created}, agreement {rho['value']:.3f} [{rho['lo']:.3f}, {rho['hi']:.3f}]"
    data = {
        **{"id": last.id, "verdict": last.verdict, "created": last.created, "agreement": rho},
        **{"reason": last.judgement.reason, "cause": cause.cause if cause else None},
    }
    return Said(f"{said}{bounds}; {last.judgement.reason}{why}{spent}", data, _unanswered(store, last))


def _unanswered(store: ObjectStore, last: Check) -> tuple[str, ...]:
    if last.verdict is not Verdict.DRIFT:
        return ()
    record = Case(store, last.id).record
    if record is None:
        return (f"check {last.id} found drift and is not answered. Run: influcoder sweep",)
    return () if record.promoted else (f"the retraining for check {last.id} is {record.phase}: {record.reason}",)


def alerts(settings: AlertSettings, store: ObjectStore) -> Said:
    """How many alerts there are, who hears of them, and what is wrong with that."""
    listed = ways(store)
    told = [channel.name for channel in settings.channels]
    waiting = sum(1 for way in listed if way.waits_for)
    words = f"{len(listed)} raised, {waiting} waiting; told: {', '.join(told) or 'nobody'}"
    data = {"raised": len(listed), "waiting": waiting, "told": told}
    return Said(words, data, tuple(problems(settings, store, listed, datetime.now(UTC))))


def next_check(prefect: PrefectServer) -> Said:
    """When the next check is due."""
    found = prefect.next_run("check")
    if found is None:
        return Said("none is scheduled", None)
    start = datetime.fromisoformat(found)
    hours = (start.timestamp() - datetime.now(UTC).timestamp()) / 3600
    return Said(f"check at {start:%Y-%m-%d %H:%M} UTC, in {hours:.1f} hours", found)
