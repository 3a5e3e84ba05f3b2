"""May a drift decision start a retraining now? Rules alone: what they go by is read from the store before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from influcoder.settings.loop import DriftSettings, RetrainingSettings
from monitoring.checks.findings import Verdict
from monitoring.checks.record import Check
from monitoring.loop.retraining import Phase, Retraining

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Situation:
    """What the rules look at beside the decision and its record.

    Args:
        champion: the champion's version; None where there is none.
        moved: when the alias moved last, UTC, ISO 8601; empty where it never did.
        checks: all checks.
        others: the records of other decisions.
        degraded: why the breaker is open; empty where it is closed.
        imported: whether the encoder's labels are imported, so that nobody can make new ones here.
    """

    champion: str | None
    moved: str = ""
    checks: Sequence[Check] = ()
    others: Sequence[Retraining] = ()
    degraded: str = ""
    imported: bool = False


@dataclass(frozen=True)
class Permission:
    """What the rules say.

    Args:
        phase: `RUNNING` to begin or to go on, `DEFERRED` for not now, `REFUSED` for never; else the one that the
            record is in already.
        reason: why it is not to begin, half a sentence.
    """

    phase: Phase
    reason: str = ""

    @property
    def goes(self) -> bool:
        """Whether to work at it now."""
        return self.phase is Phase.RUNNING


def may_retrain(
    check: Check,
    record: Retraining | None,
    situation: Situation,
    drift: DriftSettings,
    limits: RetrainingSettings,
    at: datetime | None = None,
) -> Permission:
    """Whether a decision starts a retraining, or one that was begun goes on.

    What was begun is finished, whatever the clock and the budget say, unless it has become void; so a killed run
    costs no more than the step that it was in.

    Args:
        check: the decision.
        record: its record; None where nobody answered it yet.
        situation: everything else.
        drift: how long a decision is fresh.
        limits: cooldown, budget and attempts.
        at: the time; now unless given.
    """
    if record and (record.phase.is_final or record.phase is Phase.WAITING):
        return Permission(record.phase, f"it was {record.phase} at {record.created}. {record.reason}".strip())
    if record and record.version and record.version == situation.champion:
        return Permission(Phase.RUNNING)
    begun, at = bool(record and record.runs), at or datetime.now(UTC)
    never = _void(check, situation, begun) or _given_up(check, record, drift, limits, at)
    if never:
        return Permission(Phase.REFUSED, never)
    wait = situation.degraded or ("" if begun else _limit(situation.others, limits, at))
    return Permission(Phase.DEFERRED, wait) if wait else Permission(Phase.RUNNING)


def _void(check: Check, situation: Situation, begun: bool) -> str:
    if check.verdict is not Verdict.DRIFT:
        return f"its verdict is {check.verdict}"
    if check.encoder_version != situation.champion:
        return f"it is about version {check.encoder_version}, and the champion is {situation.champion or 'none'}"
    if situation.moved > check.created:
        return f"the champion's alias moved at {situation.moved}, after the decision"
    if situation.imported:
        return "its labels are imported. Run: influcoder import-scores TABLE"
    newer = _newer(check, situation.checks, begun)
    return f"check {newer.id} of {newer.created} is newer and says {newer.verdict}" if newer else ""


def _newer(check: Check, checks: Sequence[Check], begun: bool) -> Check | None:
    """The latest decision about the same version that takes this one's place.

    One that was begun is finished all the same, unless decoder or corpus have moved on again.
    """
    places = [
        other
        for other in checks
        if other.encoder_version == check.encoder_version
        and (other.created, other.id) > (check.created, check.id)
        and other.verdict in (Verdict.OK, Verdict.DRIFT)
        and not (begun and (other.decoder, other.corpus_uri) == (check.decoder, check.corpus_uri))
    ]
    return max(places, key=lambda other: (other.created, other.id), default=None)


def _given_up(
    check: Check, record: Retraining | None, drift: DriftSettings, limits: RetrainingSettings, at: datetime
) -> str:
    if record and record.runs:
        said = f"{record.runs} runs did not finish it; the last one said: {record.reason or 'nothing'}"
        return said if record.runs >= limits.attempts else ""
    hours = (at - datetime.fromisoformat(check.created)) / timedelta(hours=1)
    return f"it is more than {drift.fresh_for_hours:g} hours old" if hours > drift.fresh_for_hours else ""


def _limit(others: Sequence[Retraining], limits: RetrainingSettings, at: datetime) -> str:
    begun = [other for other in others if other.runs]
    for other in begun:
        if other.phase is Phase.RUNNING:
            return f"the retraining for check {other.check_id} is not finished"
        if other.phase is Phase.WAITING:
            return f"version {other.version} waits for approval"
    ends = [datetime.fromisoformat(other.created) for other in begun if other.phase is Phase.ANSWERED]
    if ends and (cooled := max(ends) + timedelta(hours=limits.cooldown_hours)) > at:
        return f"the last retraining cools down until {cooled:%Y-%m-%d %H:%M} UTC"
    week = [other for other in begun if at - datetime.fromisoformat(other.started) < WEEK]
    if len(week) >= limits.per_week:
        return f"{len(week)} retrainings began within seven days, and retraining.per_week is {limits.per_week}"
    hours = sum(other.seconds for other in week) / 3600
    if hours >= limits.hours_per_week:
        spent = f"{hours:.1f} hours were spent within seven days"
        return f"{spent}, and retraining.hours_per_week is {limits.hours_per_week:g}"
    return ""
