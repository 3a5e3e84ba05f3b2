"""What each line of the status says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.context import Place
from influcoder.cli.servers import PrefectServer
from influcoder.labelsets.manifest import latest
from influcoder.registry.encoder_version import EncoderVersion, agreement_figures, agreement_words
from influcoder.registry.journal import entries
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.outbox import problems, ways
from monitoring.causes.record import load_cause
from monitoring.checks.findings import Verdict
from monitoring.checks.record import Check, checks
from monitoring.loop.breaker import degraded, failures
from monitoring.loop.retraining import RetrainingSlot


@dataclass(frozen=True)
class Line:
    """What there is to say of one thing: words for people, data for programs, and what is wrong."""

    words: str
    data: Any
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lookup:
    """What a line answers.

    Args:
        name: of the line.
        servers: that have to answer it.
        find: the answer.
    """

    name: str
    servers: tuple[str, ...]
    find: Callable[[], Line]


def champion(registry: Registry) -> Line:
    """The encoder that answers; it is wrong that there is none."""
    found = registry.find(CHAMPION)
    if found is None:
        return Line("none", None, ("there is no champion yet. Run: influcoder train, then influcoder promote",))
    return version(found)


def version(found: EncoderVersion | None) -> Line:
    """An encoder version."""
    if found is None:
        return Line("none", None)
    words = (
        f"version {found.version}, agreement {agreement_words(found.tags)}, labels {found.label_set_id}, "
        f"decoder {found.decoder_fingerprint[:12]}"
    )
    behind = {"label_set": found.label_set_id, "decoder": found.decoder_fingerprint}
    return Line(words, {"version": found.version, **behind, **agreement_figures(found)})


def journal(place: Place) -> Line:
    """How far the journal reaches, and whether the alias follows it."""
    state = place.champions.state()
    agrees = "the alias differs" if state.problem else "the alias agrees"
    wrong = (state.problem,) if state.problem else ()
    data: dict[str, Any] = {"entries": len(state.entries), "alias_agrees": not state.problem, "last": None}
    if not state.entries:
        return Line(f"no entries, {agrees}", data, wrong)
    last = state.entries[-1]
    words = f"version {last.version} {last.action} by {last.actor} at {last.created}"
    data["last"] = last.model_dump(mode="json", include={"number", "version", "action", "actor", "created"})
    return Line(f"{last.number} entries, chain intact, {agrees}; last: {words}", data, wrong)


def breaker(place: Place) -> Line:
    """Whether retraining has stopped."""
    found, limit = entries(place.store, place.registry.model), place.settings.retraining.failures
    problem, row = degraded(found), len(failures(found))
    data = {"open": bool(problem), "failures": row, "limit": limit}
    if problem:
        return Line("open: retraining has stopped", data, (problem,))
    return Line(f"closed, {row} of {limit} failures in a row", data)


def labels(store: ObjectStore) -> Line:
    """The newest label set to train from."""
    found = latest(store)
    return Line(found or "none", found)


def last_check(store: ObjectStore) -> Line:
    """What the last check found, why, and whether a drift is answered."""
    found = checks(store)
    if not found:
        return Line("none", None)
    last = found[-1]
    rho, cause = last.figures["rho"], load_cause(store, last.id)
    bounds = f", {last.bounds}" if last.bounds else ""
    why = f"; cause: {cause.cause}" if cause else ""
    spent = f"; {last.spent}" if last.spent else ""
    words = f"{last.verdict} at {last.created}, agreement {rho['value']:.3f} [{rho['lo']:.3f}, {rho['hi']:.3f}]"
    data = {
        **{"id": last.id, "verdict": last.verdict, "created": last.created, "agreement": rho},
        **{"reason": last.judgement.reason, "cause": cause.cause if cause else None},
    }
    return Line(f"{words}{bounds}; {last.judgement.reason}{why}{spent}", data, _unanswered(store, last))


def _unanswered(store: ObjectStore, last: Check) -> tuple[str, ...]:
    if last.verdict is not Verdict.DRIFT:
        return ()
    record = RetrainingSlot(store, last.id).record
    if record is None:
        return (f"check {last.id} found drift and is not answered. Run: influcoder sweep",)
    return () if record.promoted else (f"the retraining for check {last.id} is {record.phase}: {record.reason}",)


def alerts(place: Place) -> Line:
    """How many alerts there are, who hears of them, and what is wrong with that."""
    settings, listed = place.settings.alerts, ways(place.store)
    names = [channel.name for channel in settings.channels]
    waiting = sum(1 for way in listed if way.waits_for)
    words = f"{len(listed)} raised, {waiting} waiting; told: {', '.join(names) or 'nobody'}"
    data = {"raised": len(listed), "waiting": waiting, "told": names}
    return Line(words, data, tuple(problems(settings, place.store, listed, datetime.now(UTC))))


def next_check(prefect: PrefectServer) -> Line:
    """When the next check is due."""
    found = prefect.next_run("check")
    if found is None:
        return Line("none is scheduled", None)
    start = datetime.fromisoformat(found)
    hours = (start.timestamp() - datetime.now(UTC).timestamp()) / 3600
    return Line(f"check at {start:%Y-%m-%d %H:%M} UTC, in {hours:.1f} hours", found)
