"""What a reader of scores has to know before believing them."""

from influcoder.core.errors import InflucoderError
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.findings import Verdict
from monitoring.checks.record import newest_check
from monitoring.loop.breaker import trust_of


def caveats(
    store: ObjectStore, model: str, champion: EncoderVersion, decoder_uri: str, fingerprint: str
) -> tuple[str, ...]:
    """Whether an encoder answers for the decoder in use, and whether its scores may be trusted.

    Args:
        store: holds the journal.
        model: the registered model.
        champion: the encoder that answers.
        decoder_uri: the decoder in use.
        fingerprint: of that decoder.
    Returns:
        a sentence for each thing that is wrong.
    """
    found = [trust_of(store, model)]
    if fingerprint != champion.decoder_fingerprint:
        found.insert(
            0,
            f"encoder version {champion.version} was distilled for decoder {champion.decoder_fingerprint[:12]}, "
            f"but {decoder_uri} is {fingerprint[:12]}: run influcoder check.",
        )
    return tuple(line for line in found if line)


def last_verdict(store: ObjectStore, champion: EncoderVersion) -> tuple[str, ...]:
    """What the last check of an encoder found, where it did not find it in order; every check is read for that."""
    try:
        last = newest_check(store, champion.version)
    except InflucoderError as error:
        return (f"nobody knows what the last check of these scores found: {error}",)
    if last is None:
        return (f"encoder version {champion.version} was never checked since it was trained: run influcoder check.",)
    if last.verdict is Verdict.OK:
        return ()
    rho = last.figures["rho"]
    figures = f"agreement {rho['value']:.3f} [{rho['lo']:.3f}, {rho['hi']:.3f}]"
    bounds = f", {last.bounds}" if last.bounds else ""
    return (f"the last check, {last.id}, says {last.verdict}: {figures}{bounds}; {last.judgement.reason}",)
