"""What a person says of a version that waits."""

from typing import NamedTuple

from flows.promote import promote
from flows.sweep import close_waiting
from influcoder.champions import Champions, digests_of
from influcoder.errors import RegistryError
from influcoder.journal import Action, Event
from influcoder.provenance import person
from influcoder.registry import Registry
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.promotion import APPROVAL, APPROVED, REJECTED, WAITS, Promotion, Stage, slot_of


class Offered(NamedTuple):
    """A version's number, and its offer to the gate where there was one."""

    version: str
    offer: Promotion | None


def said_of(version: str) -> Offered:
    """What stands about a version by its alias or number."""
    settings = load_settings()
    registry = Registry(settings.mlflow)
    number = registry.version(version).version
    return Offered(number, slot_of(ObjectStore(settings.store), registry.model, number).value)


def answer(version: str, approved: bool, reason: str) -> str:
    """Journal who approves or rejects, say so in MLflow, and finish the promotion; a sentence about it.

    Raises:
        RegistryError: the version does not wait.
    """
    number, offer = said_of(version)
    settings = load_settings()
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    champions, found = Champions(store, registry), registry.version(number)
    # An answer whose promotion was killed can be given again, or taken back.
    said = found.tags.get(APPROVAL, WAITS)
    killed = offer and offer.stage is Stage.MEASURING and said != WAITS
    if offer is None or not (killed or offer.stage is Stage.WAITING):
        raise RegistryError(f"version {number} does not wait for approval.", "See: influcoder status")
    if approved and not (killed and said == APPROVED):
        # What was approved is what the gate measured: the promotion compares the digests once more.
        event = Event(
            action=Action.APPROVED,
            version=number,
            prior=champions.state().pointed,
            actor=person(),
            reason=reason,
            evidence={"spot": offer.spot},
            digests=digests_of(registry, found),
        )
        champions.note(event)
    registry.tag(found, {APPROVAL: APPROVED if approved else REJECTED})
    words = offer.offered if approved else reason or offer.offered
    promoted = promote(number, words, offer.decoder, offer.corpus, offer.given, offer.retraining)
    close_waiting(store, registry)
    left = said_of(number).offer
    return f"version {number} is the champion" if promoted else f"version {number}: {left.reason if left else ''}"
