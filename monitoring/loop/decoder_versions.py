"""Decoder versions in the store: which content was seen, where and when, and what is at an address now."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import InflucoderError
from influcoder.core.provenance import now
from influcoder.decoder.addresses import stamp_of
from influcoder.decoder.fingerprints import noted
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.storage.object_store import ObjectStore, sha256
from influcoder.storage.records import Slot, read

if TYPE_CHECKING:
    from monitoring.checks.record import Check


class DecoderVersion(BaseModel):
    """A decoder by its content.

    Args:
        fingerprint: SHA-256 of weights and tokenizer.
        first_seen: UTC, ISO 8601.
        uris: when it was first seen at each address.
    """

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    first_seen: str
    uris: dict[str, str]


class DecoderAt(BaseModel):
    """What was at an address when it was looked at last, and answered.

    Args:
        uri: the address.
        stamp: the cheap sign of its content.
        fingerprint: what that content was.
        seen: UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    uri: str
    stamp: str
    fingerprint: str
    seen: str


def decoder_at(store: ObjectStore, uri: str) -> Slot[DecoderAt]:
    """What stands about an address."""
    return Slot(store, f"decoders/at/{sha256(uri.encode())[:20]}.json", DecoderAt)


def seen_fingerprint(store: ObjectStore, uri: str) -> str | None:
    """The fingerprint of the decoder at an address; None where it was not looked at since it changed.

    Nothing is loaded for it: `influcoder watch` looked, or this machine loaded the same files before.
    """
    found, known = decoder_at(store, uri).value, noted(uri)
    if known is not None:
        return known.fingerprint
    try:
        return found.fingerprint if found and found.stamp == stamp_of(uri) else None
    except InflucoderError:
        # What can't be reached may still be in this machine's cache, for whoever loads it.
        return None


def record(store: ObjectStore, fingerprint: str, uri: str) -> tuple[DecoderVersion, bool]:
    """Note that a decoder was seen at an address; whether its content is new. A new name makes no new decoder."""
    slot = Slot(store, f"decoders/{fingerprint}.json", DecoderVersion)
    known = slot.value
    if known is None:
        return slot.write(DecoderVersion(fingerprint=fingerprint, first_seen=now(), uris={uri: now()})), True
    if uri in known.uris:
        return known, False
    return slot.write(known.model_copy(update={"uris": {**known.uris, uri: now()}})), False


def decoders(store: ObjectStore) -> dict[str, DecoderVersion]:
    """Every decoder version by its fingerprint."""
    keys = [key for key in store.keys("decoders/") if key.count("/") == 1]
    found = (read(store, key, DecoderVersion) for key in keys)
    return {version.fingerprint: version for version in found if version}


def is_answered(champion: EncoderVersion | None, fingerprint: str, checks: "list[Check]") -> str:
    """Why a decoder asks for no check; empty where the champion has to be checked under it."""
    if champion is None:
        return "there is no champion to check. Run: influcoder label, influcoder train, influcoder promote"
    if champion.decoder_fingerprint == fingerprint:
        return f"the champion, version {champion.version}, was distilled for it"
    seen = [check for check in checks if (check.encoder_version, check.decoder) == (champion.version, fingerprint)]
    return f"check {seen[-1].id} of the champion under it says {seen[-1].verdict}" if seen else ""
