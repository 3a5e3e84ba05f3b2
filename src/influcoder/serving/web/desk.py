"""The answerer that requests share: opened once, opened anew when there is another champion or a newer index."""

import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from influcoder.core.errors import InflucoderError
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.samples import Sample
from influcoder.serving.answerer import FRESH_SECONDS, Answer, Answerer
from influcoder.serving.outputs import Asked
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.record import newest_check
from monitoring.loop.breaker import trust_of


class Desk:
    """Answers requests one after the other: an encoder and a search take all cores already.

    Args:
        settings: decoder, corpus and servers.
        fresh: seconds between two looks at the registry.
    Raises:
        RegistryError: there is no champion.
    """

    _answerer: Answerer
    _badge: str
    _looked: float

    def __init__(self, settings: Settings, fresh: float = FRESH_SECONDS) -> None:
        self._settings, self._fresh = settings, fresh
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._open()

    def answers(self, asked: Sequence[Asked], k: int, least: int, private: bool) -> list[Answer]:
        """Attribute outputs; see `Answerer.answers`."""
        with self._lock:
            answerer = self._present()
            outputs = [answerer.output(item) for item in asked]
            return answerer.answers(outputs, k, least, private=private)

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
            answerer = self._present()
            champion, index = answerer.champion, answerer.index.manifest
            tags = champion.tags
            return {
                "badge": self._badge,
                "warnings": list(answerer.warnings()),
                "encoder": champion.version,
                "agreement": {name: tags.get(f"agreement.{name}") for name in ("rho", "lo", "hi", "floor", "lift")},
                "ceiling": tags.get("labels.ceiling"),
                "label_set": champion.label_set_id,
                "teacher": tags.get("teacher.id", ""),
                "decoder": champion.decoder_fingerprint,
                "index": index.id,
                "corpus": index.corpus_uri,
                "samples": index.rows,
            }

    def _present(self) -> Answerer:
        if time.monotonic() - self._looked > self._fresh:
            try:
                self._open()
            except InflucoderError:
                # A registry that is away must not take down what is open; the next look may find it again.
                self._looked = time.monotonic()
        return self._answerer

    def _open(self) -> None:
        registry = Registry(self._settings.mlflow)
        version = registry.version(CHAMPION).version
        if self._folder is None or version != self._answerer.champion.version or self._answerer.is_stale():
            folder = tempfile.TemporaryDirectory(prefix="influcoder-serve-")
            self._answerer = Answerer(self._settings, Path(folder.name))
            replaced, self._folder = self._folder, folder
            if replaced:
                replaced.cleanup()
        store = ObjectStore(self._settings.store)
        last = newest_check(store, version)
        self._badge = str(last.verdict) if last else "never checked"
        if trust_of(store, registry.model):
            self._badge = "degraded"
        self._looked = time.monotonic()
