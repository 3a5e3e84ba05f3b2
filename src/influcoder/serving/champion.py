"""An encoder version as it answers: opened in one way, with its index and with what stands behind its answers."""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from influcoder.attribution.ranking import Embeds
from influcoder.core.files import files_hash
from influcoder.index.build import Built, build, current, published_index
from influcoder.index.manifest import Embedder, pointer_of
from influcoder.index.reader import Index
from influcoder.labelsets.manifest import load_manifest
from influcoder.labelsets.plan import plan_pairs
from influcoder.registry.encoder_files import encoder_files
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.samples import Corpus, Sample
from influcoder.serving.provenance import Provenance
from influcoder.serving.warnings import caveats
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore
from monitoring.loop.decoder_versions import seen_fingerprint

if TYPE_CHECKING:
    from influcoder.decoder.checkpoint import Decoder
    from influcoder.encoder import Encoder
    from influcoder.labelsets import Block

# How old a warning, or its absence, and a champion may be.
FRESH_SECONDS = 60.0


class ServedChampion:
    """An encoder version, its index of the corpus, and the decoder in use.

    Each is fetched when it is first needed, and torch is imported only for what needs it.

    Args:
        settings: decoder, corpus and servers.
        which: alias or number of the version.
        few: whether a few outputs alone are asked about, so that a closed form need not be loaded as a torch module.
    Raises:
        RegistryError: there is no such version.
    """

    def __init__(self, settings: Settings, which: str = CHAMPION, few: bool = False) -> None:
        self.settings, self._which, self._few = settings, which, few
        self.store, self.registry = ObjectStore(settings.store), Registry(settings.mlflow)
        self.version = self.registry.version(which)
        self._known: tuple[float, tuple[str, ...]] | None = None

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder, loaded."""
        from influcoder.registry.open_encoder import encoder_at

        return encoder_at(self._files, self.version, self.settings)

    @cached_property
    def embeds(self) -> Embeds:
        """What embeds outputs: the encoder, or for a few of them a closed form in NumPy alone."""
        from influcoder.encoder.kernel_numpy import BareEncoder

        return BareEncoder(self._files) if self._few and self._in_closed_form else self.encoder

    @property
    def index(self) -> Index:
        """The index that answers for this version and the corpus, built where there is none."""
        return self._index[0]

    def update_index(self, again: bool = False) -> Built:
        """Bring the index up to date with its corpus; nothing is read where it looks unchanged.

        Args:
            again: read it even then.
        """
        place = (self._embedder, self.settings.corpus)
        known = None if again else current(self.store, *place)
        return Built(known, 0) if known else build(self.store, self.version, self.encoder, *place)

    @property
    def provenance(self) -> Provenance:
        """What stands behind its answers."""
        return Provenance(self.version, self.index.manifest)

    def warnings(self) -> tuple[str, ...]:
        """What a reader of its answers must know; it is found out at most once a minute, since it reads the journal."""
        if self._known is None or time.monotonic() - self._known[0] > FRESH_SECONDS:
            found = caveats(self.store, self.registry.model, self.version, self.settings.decoder, self.fingerprint)
            stale = self._index[1]
            self._known = time.monotonic(), (*found, stale) if stale else found
        return self._known[1]

    def is_replaced(self) -> bool:
        """Whether another version, or another index of the corpus, is the one that answers now."""
        pointer = pointer_of(self.store, self._embedder, self.settings.corpus)
        moved = pointer is not None and pointer.index != self.index.manifest.id
        return moved or self.registry.version(self._which).version != self.version.version

    @cached_property
    def decoder(self) -> "Decoder":
        """The decoder in use, loaded as the labels' teacher wants it."""
        from influcoder.labelsets.build import decoder_for

        return decoder_for(self.settings, self._spec)

    @cached_property
    def fingerprint(self) -> str:
        """Of the decoder in use, which is loaded only where nobody looked at it since it changed."""
        # Another storage type of the weights is another fingerprint, and what was seen of a decoder is of the default.
        known = seen_fingerprint(self.store, self.settings.decoder) if self._spec.dtype == "float32" else None
        return known or self.decoder.fingerprint

    def exact(self, outputs: Sequence[Sample], samples: Sequence[Sample]) -> "Block":
        """Exact influence of samples on outputs, which are the queries; what is cached is not computed again."""
        from influcoder.labelsets.build import label_plan

        seed, curved_on = self.settings.labels.seed, self._spec.curved_on
        plan = plan_pairs(list(outputs), list(samples), self._curvature_pool, seed, curved_on)
        return label_plan(self.settings, self.decoder, self._spec, plan, self.store).block("report")

    @cached_property
    def _files(self) -> Path:
        return encoder_files(self.registry, self.version)

    @cached_property
    def _in_closed_form(self) -> bool:
        from influcoder.encoder.kernel_numpy import is_closed_form

        return is_closed_form(self._files)

    @cached_property
    def _embedder(self) -> Embedder:
        digest = self.version.files_digest or files_hash(self._files)
        return Embedder(files=digest, max_tokens=None if self._in_closed_form else self.settings.encoder.max_tokens)

    @cached_property
    def _index(self) -> tuple[Index, str]:
        found = published_index(self.store, self._embedder, self.settings.corpus)
        return found or (Index(self.store, self.update_index().manifest), "")

    @cached_property
    def _spec(self) -> TeacherSpec:
        return load_manifest(self.store, self.version.label_set_id).identity.teacher.spec

    @cached_property
    def _curvature_pool(self) -> Corpus:
        from influcoder.labelsets.build import curvature_pool

        return curvature_pool(self.settings, self._spec)
