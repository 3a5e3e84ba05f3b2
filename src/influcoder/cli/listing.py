"""Encoder versions by the decoder that each was distilled for."""

from rich.table import Table

from influcoder.decoder import load_decoder
from influcoder.registry import EncoderVersion, Registry
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.decoders import decoders, seen_fingerprint


def table(decoder: str | None) -> Table:
    """A row for each version, those of one decoder together; the decoder in use comes last."""
    settings = load_settings(decoder=decoder or None)
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    seen, known = seen_fingerprint(store, settings.decoder), decoders(store)
    present = seen or load_decoder(settings.decoder).fingerprint
    grid = Table(title="Encoders", title_justify="left")
    for name in ("decoder", "version", "alias", "agreement", "floor", "lift", "ceiling", "valid now"):
        grid.add_column(name, justify="right" if name == "version" else "left", overflow="fold")
    rows = sorted(registry.versions(), key=lambda version: (_decoder(version) == present, _decoder(version)))
    for version in rows:
        found, tags = _decoder(version), version.tags
        places = ", ".join(known[found].uris) if found in known else tags.get("decoder.uri", "")
        rho, lo, hi = (tags.get(f"agreement.{part}", "?") for part in ("rho", "lo", "hi"))
        valid = "yes" if found == present else "no: it is of another decoder"
        name = f"{found[:12] or 'unknown'} ({places})"
        bounds = (tags.get(tag, "unknown") for tag in ("agreement.floor", "agreement.lift", "labels.ceiling"))
        grid.add_row(name, version.version, ", ".join(version.aliases), f"{rho} \\[{lo}, {hi}]", *bounds, valid)
    grid.caption = f"in use: {present[:12]} ({settings.decoder})"
    return grid


def _decoder(version: EncoderVersion) -> str:
    return version.tags.get("decoder.fingerprint", "")
