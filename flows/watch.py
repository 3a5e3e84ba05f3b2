"""The decoder in use → is it another one? → a decoder version in the store → is the champion valid for it?"""

from prefect import flow

from flows.check import check
from flows.context import load_place
from flows.steps import show, step
from influcoder.core.provenance import now
from influcoder.core.tags import DECODER
from influcoder.decoder.addresses import stamp_of
from influcoder.decoder.load import load_decoder
from influcoder.registry.mlflow_registry import CHAMPION
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.record import checks
from monitoring.loop.decoder_versions import DecoderAt, decoder_at, is_answered, record


@flow(name="watch", log_prints=True)
def watch(decoder: str | None = None) -> str | None:
    """Look at the decoder in use, and check the champion at once where its content is new to it; the check's id.

    Args:
        decoder: where it is, see `load_decoder`; from the settings unless given.
    """
    place = load_place(decoder=decoder)
    settings, store, registry = place.settings, place.store, place.registry
    slot, stamp = decoder_at(store, settings.decoder), stamp_of(settings.decoder)
    champion = registry.find(CHAMPION)
    known = slot.value.fingerprint if slot.value and slot.value.stamp == stamp else None
    fingerprint = known or read_decoder(store, settings.decoder)
    answered = is_answered(champion, fingerprint, checks(store))
    check_id = None if answered else check(decoder=settings.decoder)
    if known is None:
        # Last, so that a run that was killed before looks again.
        slot.write(DecoderAt(uri=settings.decoder, stamp=stamp, fingerprint=fingerprint, seen=now()))
    verdict = answered or f"check {check_id} says what the champion is worth under it"
    print(f"decoder {fingerprint[:12]} at {settings.decoder}: {verdict}")
    for version in registry.versions():
        if version.tags.get(DECODER) == fingerprint and CHAMPION not in version.aliases:
            print(f"version {version.version} was distilled for this decoder")
    return check_id


@step("fingerprint")
def read_decoder(store: ObjectStore, uri: str) -> str:
    """Read the decoder, and note it as a version."""
    fingerprint = load_decoder(uri).fingerprint
    version, is_new = record(store, fingerprint, uri)
    words = "is new" if is_new else f"was first seen at {version.first_seen}"
    rows = [{"address": address, "first seen": seen} for address, seen in version.uris.items()]
    show("decoder", f"# Decoder `{fingerprint[:16]}` {words}", rows, {})
    return fingerprint
