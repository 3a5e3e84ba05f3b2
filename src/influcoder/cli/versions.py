"""Encoder versions by the decoder that each was distilled for."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from flows.context import load_place
from influcoder.core import tags
from influcoder.registry.encoder_version import EncoderVersion, agreement_figures
from monitoring.loop.decoder_versions import DecoderVersion, decoders, seen_fingerprint

_BOUNDS = (tags.FLOOR, tags.LIFT, tags.CEILING)


@dataclass(frozen=True)
class Listing:
    """Encoder versions, those of one decoder together; the decoder in use comes last.

    Args:
        versions: all of them.
        known: decoders that were seen, by their fingerprint.
        decoder: where the decoder in use is.
        present: its fingerprint; None where nobody looked at it since it changed.
    """

    versions: list[EncoderVersion]
    known: Mapping[str, DecoderVersion]
    decoder: str
    present: str | None

    def rows(self) -> list[dict[str, Any]]:
        """A JSON object for each version."""
        return [
            {
                "version": version.version,
                "aliases": list(version.aliases),
                "decoder": _decoder(version) or None,
                "seen_at": self._places(version),
                "label_set": version.tags.get(tags.LABEL_SET),
                **agreement_figures(version),
                "valid_now": self._is_valid(version),
            }
            for version in self.versions
        ]

    def table(self) -> Table:
        """The same for a terminal."""
        grid = Table(title="Encoders", title_justify="left")
        for name in ("decoder", "version", "alias", "agreement", "floor", "lift", "ceiling", "valid now"):
            grid.add_column(name, justify="right" if name == "version" else "left", overflow="fold")
        words = {None: "unknown", True: "yes", False: "no: it is of another decoder"}
        for version in self.versions:
            rho, lo, hi = (version.tags.get(tag, "?") for tag in (tags.RHO, tags.LO, tags.HI))
            name = f"{_decoder(version)[:12] or 'unknown'} ({', '.join(self._places(version))})"
            figures = (f"{rho} [{lo}, {hi}]", *(version.tags.get(tag, "unknown") for tag in _BOUNDS))
            row = (name, version.version, ", ".join(version.aliases), *figures, words[self._is_valid(version)])
            grid.add_row(*map(escape, row))
        grid.caption = escape(self.caption)
        return grid

    @property
    def caption(self) -> str:
        """What is known of the decoder in use, and what to do where nothing is."""
        if self.present is None:
            return f"in use: {self.decoder}, which nobody looked at since it changed. Run: influcoder watch"
        return f"in use: {self.present[:12]} ({self.decoder})"

    def _is_valid(self, version: EncoderVersion) -> bool | None:
        return None if self.present is None else _decoder(version) == self.present

    def _places(self, version: EncoderVersion) -> list[str]:
        found = self.known.get(_decoder(version))
        uri = version.tags.get(tags.DECODER_URI, "")
        return list(found.uris) if found else [uri] if uri else []


def listing(decoder: str | None = None) -> Listing:
    """What the registry and the store know; no decoder is loaded for it."""
    place = load_place(decoder=decoder or None)
    with ThreadPoolExecutor() as pool:
        seen = pool.submit(seen_fingerprint, place.store, place.settings.decoder)
        known = pool.submit(decoders, place.store)
        versions, present = place.registry.versions(), seen.result()
    versions.sort(key=lambda version: (_decoder(version) == present, _decoder(version)))
    return Listing(versions, known.result(), place.settings.decoder, present)


def table(decoder: str | None) -> Table:
    """The encoders as a table."""
    return listing(decoder).table()


def _decoder(version: EncoderVersion) -> str:
    return version.tags.get(tags.DECODER, "")
