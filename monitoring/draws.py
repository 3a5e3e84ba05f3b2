"""Which samples a check draws: fresh ones for each, the same ones when a check that was killed is run again."""

import json

from influcoder.errors import IntegrityError
from influcoder.provenance import now
from influcoder.settings import Settings
from influcoder.store import ObjectStore, sha256


class OpenDraw:
    """A draw that a check has begun and not yet recorded.

    Args:
        store: where it is kept.
        settings: what is drawn from, under which decoder.
        version: the encoder version that is checked.
    """

    def __init__(self, store: ObjectStore, settings: Settings, version: str) -> None:
        self._store = store
        facts = [version, settings.decoder, settings.corpus, settings.queries]
        self._key = f"draws/{sha256(json.dumps(facts).encode())[:20]}.json"

    def seed(self, fresh: int) -> int:
        """The seed of the draw: that of a check which did not end, else the fresh one.

        Two checks of the same encoder, decoder and corpus that run at once share a draw, and count once.
        """
        begun = self._begun()
        if begun is not None:
            return begun
        written = self._store.keep(self._key, json.dumps({"seed": fresh, "opened": now()}).encode())
        return fresh if written else self.seed(fresh)

    def close(self, seed: int) -> None:
        """The draw is recorded; the next check makes one of its own."""
        if self._begun() == seed:
            self._store.delete(self._key)

    def _begun(self) -> int | None:
        data, _ = self._store.read_if_there(self._key)
        try:
            return None if data is None else int(json.loads(data)["seed"])
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{self._store.uri(self._key)} is no draw.", "Delete it.") from error
