"""Open the breaker where it is due; close it for a person."""

from pydantic import JsonValue

from flows.alert import notify
from flows.context import Place, load_place
from flows.steps import actor, step
from influcoder.core.errors import RegistryError, SettingsError
from influcoder.core.tags import TRUST
from influcoder.registry.journal import Action, Entry, Event
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from monitoring.alerts.compose import breaker
from monitoring.loop.breaker import DEGRADED, RESTORED, failures, is_due, opened


@step("look at the breaker")
def guard(place: Place) -> bool:
    """Open the breaker after too many failures in a row, and mark the champion; whether it is open."""
    registry, champions = place.registry, place.champions
    found = champions.state().entries
    if is_due(found, place.settings.retraining.failures):
        row = failures(found)
        versions = ", ".join(entry.version for entry in row)
        reason = f"{len(row)} challengers in a row failed the gate (versions {versions})"
        checks = [entry.evidence["retraining"] for entry in row]
        event = _event(registry, Action.BREAKER_OPENED, actor(), reason, checks=checks)
        found = (*found, champions.note(event))
    entry = opened(found)
    if entry is not None:
        todo = "When the cause is mended: `influcoder breaker reset --reason TEXT`"
        what = f"{entry.reason[:1].upper()}{entry.reason[1:]}. Version {entry.version} goes on answering, marked."
        # The same occurrence is told once, so a run that was killed before it told is made up for.
        subject, occurrence = f"model {registry.model}", f"journal entry {entry.number}"
        notify(place, breaker(subject, occurrence, what, {}, [todo]))
        mark(registry, DEGRADED)
    return entry is not None


def close(who: str, reason: str) -> Entry:
    """Close the breaker.

    Raises:
        RegistryError: it is not open.
        SettingsError: no reason is given.
    """
    if not reason.strip():
        raise SettingsError("the breaker is closed for a reason.", "Give it: --reason TEXT")
    place = load_place()
    registry, champions = place.registry, place.champions
    if opened(champions.state().entries) is None:
        raise RegistryError("the breaker is not open.", "See: influcoder status")
    entry = champions.note(_event(registry, Action.BREAKER_CLOSED, who, reason))
    for version in registry.versions():
        if version.tags.get(TRUST) == DEGRADED:
            registry.tag(version, {TRUST: RESTORED})
    return entry


def mark(registry: Registry, trust: str) -> None:
    """Say in MLflow whether the champion's scores may be trusted."""
    champion = registry.find(CHAMPION)
    if champion and champion.tags.get(TRUST) != trust:
        registry.tag(champion, {TRUST: trust})


def _event(registry: Registry, action: Action, who: str, reason: str, **evidence: JsonValue) -> Event:
    champion = registry.find(CHAMPION)
    version = champion.version if champion else "none"
    return Event(action=action, version=version, prior=version, actor=who, reason=reason, evidence=evidence)
