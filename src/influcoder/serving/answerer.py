"""Outputs → the samples that drove them, with what stands behind each answer."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from influcoder.attribution import Ranking, attribute_from, verify
from influcoder.attribution.ranking import Embeds
from influcoder.core.errors import SampleError
from influcoder.core.files import FILES
from influcoder.decoder.fingerprints import noted
from influcoder.index import Manifest
from influcoder.index.build import embedder_of, opened_index, published_index
from influcoder.index.manifest import Embedder, pointer_of
from influcoder.index.reader import Index
from influcoder.labelsets.manifest import load_manifest
from influcoder.labelsets.plan import plan_pairs
from influcoder.registry.encoder_files import kept_files
from influcoder.registry.encoder_version import EncoderVersion, agreement_figures
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.samples import Corpus, Sample
from influcoder.samples.query_log import remember
from influcoder.samples.sample import content_id
from influcoder.serving.outputs import Asked
from influcoder.serving.warnings import caveats
from influcoder.settings.tree import Settings, load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.loop.decoder_versions import seen_fingerprint

if TYPE_CHECKING:
    from influcoder.decoder.checkpoint import Decoder
    from influcoder.encoder import Encoder
    from influcoder.labelsets import Block

# How old a warning, or its absence, and a champion may be.
FRESH_SECONDS = 60.0


# What embeds outputs, what decides about its vectors, and the index with what a reader has to know of it.
_Opened = tuple[Embeds, Embedder, tuple[Index, str]]


@dataclass(frozen=True)
class Answer:
    """The most and the least influential samples of one output.

    Args:
        output: the output.
        found: both ends of the ranking.
        champion: the encoder that ranked them.
        index: of the pool.
        warnings: what a reader must know before believing it.
    """

    output: Sample
    found: Ranking
    champion: EncoderVersion
    index: Manifest
    warnings: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each sample, the most influential first, then the least; each says what stands behind it."""
        return [
            {
                "output": self.output.id,
                "end": end,
                "rank": item.rank,
                "score": round(item.score, 4),
                "percentile": round(item.percentile, 4),
                "exact": None if item.exact is None else round(item.exact, 4),
                "source": item.sample.source,
                "id": item.sample.id,
                "text": item.sample.text,
                "metadata": dict(item.sample.metadata),
                **self._behind,
                "warnings": list(self.warnings),
            }
            for end, item in self.found.ends
        ]

    @cached_property
    def _behind(self) -> dict[str, Any]:
        return {
            "encoder": self.champion.version,
            "label_set": self.champion.label_set_id,
            "decoder": self.champion.decoder_fingerprint,
            **agreement_figures(self.champion),
            "index": self.index.id,
            "corpus": self.index.corpus_uri,
        }


class Answerer:
    """The champion, its index of the corpus and the decoder in use, opened once for many questions.

    Args:
        settings: decoder, corpus and servers.
        folder: for the encoder's files; it must outlive the answerer.
        few: whether a few outputs alone are asked about, so that a closed form need not be loaded as a torch module.
    Raises:
        RegistryError: there is no champion.
    """

    def __init__(self, settings: Settings, folder: Path, few: bool = False) -> None:
        self._settings, self._folder = settings, folder
        self._looked: float | None = None
        self._warnings: tuple[str, ...] = ()
        self._registry, self._store = Registry(settings.mlflow), ObjectStore(settings.store)
        self.champion = self._registry.version(CHAMPION)
        self._spec = load_manifest(self._store, self.champion.label_set_id).identity.teacher.spec
        self._embeds, self._embedder, (self.index, self._stale) = (self._bare() if few else None) or self._whole()
        # Another storage type of the weights is another fingerprint, and what was seen of a decoder is of the default.
        seen = seen_fingerprint(self._store, settings.decoder) if self._spec.dtype == "float32" else None
        self._present = seen or self._decoder.fingerprint

    @cached_property
    def encoder(self) -> "Encoder":
        """The champion, loaded."""
        from influcoder.registry.open_encoder import open_encoder

        return open_encoder(self._registry, self.champion, self._folder, self._settings)

    def _whole(self) -> "_Opened":
        embedder = embedder_of(self._registry, self.champion, self.encoder)
        place = (self._store, self.champion, self.encoder, embedder, self._settings.corpus)
        return self.encoder, embedder, opened_index(*place)

    def _bare(self) -> "_Opened | None":
        """A closed form without torch; None where the champion is none, or where an index has to be built first."""
        from influcoder.encoder.kernel_numpy import BareEncoder, is_closed_form

        files = kept_files(self._registry, self.champion)
        if files is None or not is_closed_form(files):
            return None
        encoder = BareEncoder(files)
        embedder = Embedder(files=self.champion.tags[FILES])
        found = published_index(self._store, embedder, self._settings.corpus)
        return (encoder, embedder, found) if found else None

    def output(self, asked: Asked) -> Sample:
        """What is to be attributed, as a sample.

        Raises:
            SampleError: there is neither a prompt nor an answer, or the decoder answers with nothing.
        """
        if asked.sample is not None:
            return asked.sample
        if not asked.prompt.strip() and not asked.answer.strip():
            raise SampleError("there is nothing to attribute.", "Give --prompt, --answer or both.")
        context = self._chat(asked.prompt) if asked.prompt else ""
        target = asked.answer or self._decoder.generate(context)
        if not target.strip():
            raise SampleError("the decoder answers this prompt with nothing.", "Give an answer, or another prompt.")
        name = asked.id or content_id(context, target)
        return Sample(name, context, target, f"{asked.prompt}\n{target}".strip(), "output")

    def answers(
        self, outputs: Sequence[Sample], k: int, least: int = 0, exact: int = 0, private: bool = False
    ) -> list[Answer]:
        """Attribute outputs, and log what was asked unless it is private.

        Args:
            outputs: what the decoder said.
            k: how many of the most influential samples.
            least: how many of the least influential ones.
            exact: of how many of each end exact influence is computed, too.
            private: leave them out of the log of questions.
        """
        found = attribute_from(self.index, self._embeds, outputs, k, least)
        if exact:
            found = [self._verified(*pair, exact) for pair in zip(outputs, found, strict=True)]
        remember(self._store, self._settings.asked, outputs, self.champion.version, self._present, private)
        answered = (self.champion, self.index.manifest, self.warnings())
        return [Answer(output, ranking, *answered) for output, ranking in zip(outputs, found, strict=True)]

    def exact(self, output: Sample, samples: Sequence[Sample]) -> "Block":
        """Exact influence of samples on an output, which is the one query; what is cached is not computed again."""
        from influcoder.labelsets.build import label_plan

        plan = plan_pairs([output], list(samples), self._pool, self._settings.labels.seed, self._spec.curved_on)
        return label_plan(self._settings, self._decoder, self._spec, plan, self._store).block("report")

    @cached_property
    def _decoder(self) -> "Decoder":
        from influcoder.labelsets.build import decoder_for

        return decoder_for(self._settings, self._spec)

    @cached_property
    def _pool(self) -> Corpus:
        from influcoder.labelsets.build import curvature_pool

        return curvature_pool(self._settings, self._spec)

    def _chat(self, prompt: str) -> str:
        known = noted(self._settings.decoder)
        if known is not None and "_decoder" not in vars(self):
            return known.chat(prompt)
        tokenizer = self._decoder.tokenizer
        if not tokenizer.chat_template:
            return prompt
        message = [{"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))

    def _verified(self, output: Sample, found: Ranking, exact: int) -> Ranking:
        return verify(found, self.exact(output, Ranking(found.most[:exact], found.least[:exact]).samples))

    def is_stale(self) -> bool:
        """Whether another index answers for this encoder and corpus now."""
        pointer = pointer_of(self._store, self._embedder, self._settings.corpus)
        return pointer is not None and pointer.index != self.index.manifest.id

    def warnings(self) -> tuple[str, ...]:
        """What a reader of its answers must know; it is asked for at most once a minute, since it reads the journal."""
        if self._looked is None or time.monotonic() - self._looked > FRESH_SECONDS:
            said = caveats(self._store, self._registry.model, self.champion, self._settings.decoder, self._present)
            self._warnings = (*said, self._stale) if self._stale else said
            self._looked = time.monotonic()
        return self._warnings


@contextmanager
def answering(settings: Settings, few: bool = False) -> Iterator[Answerer]:
    """An answerer, while it is needed; see there."""
    with tempfile.TemporaryDirectory() as folder:
        yield Answerer(settings, Path(folder), few)


def answer_of(
    prompt: str,
    answer: str | None,
    k: int,
    exact: int = 0,
    decoder_uri: str | None = None,
    corpus: str | None = None,
    private: bool = False,
    least: int = 0,
) -> Answer:
    """Attribute one output with the champion; see `Answerer`."""
    with answering(load_settings(decoder=decoder_uri or None, corpus=corpus or None)) as answerer:
        output = answerer.output(Asked(prompt=prompt, answer=answer or ""))
        return answerer.answers([output], k, least, exact, private)[0]
