"""The champion's alias → an earlier version."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.context import Place, load_place
from flows.steps import actor, show, step
from influcoder.core.errors import RegistryError
from influcoder.core.tags import FILES
from influcoder.decoder.load import load_decoder
from influcoder.registry.champions import Champions, State, default_target, digests_of, objections, refuse
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.journal import Action, Entry, Event


@flow(name="rollback", log_prints=True)
def rollback(to: str | None = None, reason: str = "", force: bool = False) -> str:
    """Move the champion's alias back; the version that it points to then.

    Args:
        to: number of the version; the champion before the present one unless given.
        reason: why, for the journal.
        force: whether a version that does not fit, or never passed a gate, is taken all the same.
    """
    place = load_place()
    champions = place.champions
    state = champions.settle(actor())
    target = place.registry.version(to or default_target(state))
    if target.version == state.pointed:
        raise RegistryError(f"version {target.version} is the champion already.")
    digests = examine(place, state, target, force)
    event = Event(
        action=Action.ROLLED_BACK,
        version=target.version,
        prior=state.pointed,
        actor=actor(),
        reason=reason,
        evidence={"flow_run": flow_run.name, "forced": force},
        digests=digests,
    )
    report(move(champions, event), state, target)
    return target.version


@step("examine the version")
def examine(place: Place, state: State, target: EncoderVersion, force: bool) -> dict[str, str]:
    """Whether the version is whole, was champion, and fits the decoder in use now; what identifies it."""
    digests = digests_of(place.registry, target)
    if not force:
        refuse(objections(state, target, load_decoder(place.settings.decoder).fingerprint, digests[FILES]))
    return digests


@step("move the alias back")
def move(champions: Champions, event: Event) -> Entry:
    """Journal the rollback, then move the alias."""
    return champions.move(event)


def report(entry: Entry, state: State, target: EncoderVersion) -> None:
    """Show what was rolled back, and why."""
    summary = (
        f"# Encoder version {entry.version} is the champion again\n\n{entry.actor}: {entry.reason or 'no reason'}."
    )
    row: dict[str, Any] = entry.model_dump(mode="json", include={"number", "action", "version", "prior", "created"})
    links = {"Champion": target.url, **({"Rolled back": state.alias.url} if state.alias else {})}
    show("rollback", summary, [row], links)
    print(f"version {entry.version} is the champion, after version {entry.prior}")
