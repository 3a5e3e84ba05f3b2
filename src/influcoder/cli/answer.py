"""One output → the samples that drove it, with what stands behind the answer."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from influcoder.asked import remember
from influcoder.attribution import Attribution, attribute, verify
from influcoder.cli.tables import agreement_words
from influcoder.decoder import Decoder
from influcoder.errors import SampleError
from influcoder.labelsets.build import decoder_for, label_plan, read_corpora
from influcoder.labelsets.plan import plan_pairs
from influcoder.labelsets.publish import load_manifest
from influcoder.opened import open_encoder
from influcoder.registry import CHAMPION, EncoderVersion, Registry
from influcoder.samples import Sample
from influcoder.samples.sample import content_id
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.caveats import caveats


@dataclass(frozen=True)
class Answer:
    """The most influential samples of one output.

    Args:
        output: the output.
        found: most influential first.
        champion: the encoder that ranked them.
        warnings: what a reader must know before believing it.
    """

    output: Sample
    found: list[Attribution]
    champion: EncoderVersion
    warnings: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each sample."""
        return [
            {
                "rank": item.rank,
                "score": round(item.score, 4),
                "percentile": round(item.percentile, 2),
                "exact": None if item.exact is None else round(item.exact, 4),
                "source": item.sample.source,
                "id": item.sample.id,
                "text": item.sample.text,
                "warnings": list(self.warnings),
            }
            for item in self.found
        ]


def answer_of(
    prompt: str,
    answer: str | None,
    k: int,
    exact: bool,
    decoder_uri: str | None = None,
    corpus: str | None = None,
    private: bool = False,
) -> Answer:
    """Attribute one output with the champion, and log what was asked unless it is private.

    Raises:
        RegistryError: there is no champion.
        SampleError: there is neither a prompt nor an answer.
    """
    settings = load_settings(decoder=decoder_uri or None, corpus=corpus or None)
    if not prompt.strip() and not (answer or "").strip():
        raise SampleError("there is nothing to attribute.", "Give --prompt, --answer or both.")
    registry, store = Registry(settings.mlflow), ObjectStore(settings.store)
    champion = registry.version(CHAMPION)
    spec = load_manifest(store, champion.label_set_id).identity.teacher.spec
    decoder = decoder_for(settings, spec)
    output = _output(decoder, prompt, answer)
    pool, _ = read_corpora(settings)
    with tempfile.TemporaryDirectory() as folder:
        encoder = open_encoder(registry, champion, Path(folder), settings, decoder)
        found = attribute(encoder, output, pool.samples, k)
    if exact:
        plan = plan_pairs([output], [item.sample for item in found], pool, settings.labels.seed, spec.curved_on)
        found = verify(found, label_plan(settings, decoder, spec, plan, store).block("report"))
    remember(store, settings.asked, [output], champion.version, decoder.fingerprint, private)
    warnings = caveats(store, registry.model, champion, settings.decoder, decoder.fingerprint)
    return Answer(output, found, champion, warnings)


def table(answer: Answer) -> Table:
    """The answer for a terminal."""
    grid = Table(title=f"What drove: {_short(answer.output.target, 100)}", title_justify="left", expand=True)
    for name in ("", "estimate", "exact", "percentile"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("source", no_wrap=True)
    grid.add_column("sample", ratio=1)
    for item in answer.found:
        exact = "" if item.exact is None else f"{item.exact:.3f}"
        row = (str(item.rank), f"{item.score:.3f}", exact, f"{item.percentile:.1f}")
        grid.add_row(*row, item.sample.source, _short(item.sample.text, 90))
    tags = answer.champion.tags
    caption = (
        f"encoder version {answer.champion.version}, labels {tags['labelset.id']}, "
        f"decoder {tags['decoder.fingerprint'][:12]}, agreement {agreement_words(tags)}"
    )
    grid.caption = escape("\n".join((caption, *(f"warning: {line}" for line in answer.warnings))))
    return grid


def _output(decoder: Decoder, prompt: str, answer: str | None) -> Sample:
    context = _chat(decoder, prompt) if prompt else ""
    target = answer or decoder.generate(context)
    if not target.strip():
        raise SampleError("the decoder answers this prompt with nothing.", "Give --answer, or another prompt.")
    return Sample(content_id(context, target), context, target, f"{prompt}\n{target}".strip(), "output")


def _chat(decoder: Decoder, prompt: str) -> str:
    if not decoder.tokenizer.chat_template:
        return prompt
    message = [{"role": "user", "content": prompt}]
    return str(decoder.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))


def _short(text: str, length: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"
