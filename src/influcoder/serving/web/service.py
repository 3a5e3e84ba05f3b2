"""The champion that requests share: opened once, and anew when there is another one or a newer index."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from influcoder.core.errors import InflucoderError
from influcoder.samples import Sample
from influcoder.serving.answers import Answer, attribute, output_of
from influcoder.serving.champion import FRESH_SECONDS, ServedChampion
from influcoder.serving.outputs import Exchange
from influcoder.settings.tree import Settings
from monitoring.checks.record import newest_check
from monitoring.loop.breaker import trust_of


class Service:
    """Answers requests one after the other: an encoder and a search take all cores already.

    Args:
        settings: decoder, corpus and servers.
        fresh: seconds between two questions to the registry.
    Raises:
        RegistryError: there is no champion.
    """

    def __init__(self, settings: Settings, fresh: float = FRESH_SECONDS) -> None:
        self._settings, self._fresh = settings, fresh
        self._lock = threading.Lock()
        self._champion = self._open()
        self._badge, self._checked = _badge(self._champion), time.monotonic()

    def answers(self, exchanges: Sequence[Exchange], k: int, least: int, private: bool) -> list[Answer]:
        """Attribute outputs; see `influcoder.serving.answers.attribute`."""
        with self._lock:
            champion = self._present()
            outputs = [output_of(champion, exchange) for exchange in exchanges]
            return attribute(champion, outputs, k, least, private=private)

    def embed(self, samples: Sequence[Sample]) -> np.ndarray:
        """Vectors, shape (samples, dimensions)."""
        with self._lock:
            encoder = self._present().encoder
            return encoder.embed([encoder.view(sample) for sample in samples])

    def scores(self, queries: Sequence[Sample], candidates: Sequence[Sample]) -> np.ndarray:
        """Estimated influence, shape (queries, candidates)."""
        with self._lock:
            return self._present().encoder.scores(queries, candidates)

    def warnings(self) -> list[str]:
        """What a reader of vectors and scores must know."""
        with self._lock:
            return list(self._present().warnings())

    def state(self) -> dict[str, Any]:
        """Who answers, on what ground, and how far that can be trusted."""
        with self._lock:
            champion = self._present()
            return {"badge": self._badge, "warnings": list(champion.warnings()), **champion.provenance.record()}

    def _present(self) -> ServedChampion:
        if time.monotonic() - self._checked > self._fresh:
            try:
                if self._champion.is_replaced():
                    self._champion = self._open()
                self._badge = _badge(self._champion)
            except InflucoderError:
                # A registry that is away must not take down what is open; the next question may find it again.
                pass
            self._checked = time.monotonic()
        return self._champion

    def _open(self) -> ServedChampion:
        """The champion with all that an answer needs, so that what is missing is said before the first request."""
        champion = ServedChampion(self._settings)
        _ = (champion.encoder, champion.index, champion.fingerprint)
        return champion


def _badge(champion: ServedChampion) -> str:
    if trust_of(champion.store, champion.registry.model):
        return "degraded"
    last = newest_check(champion.store, champion.version.version)
    return str(last.verdict) if last else "never checked"
