"""Outputs → the samples that drove them, with what stands behind each answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from influcoder.attribution import Ranking, attribute_from, verify
from influcoder.core.errors import SampleError
from influcoder.decoder.fingerprints import noted
from influcoder.samples import Sample
from influcoder.samples.query_log import remember
from influcoder.samples.sample import content_id
from influcoder.serving.champion import ServedChampion
from influcoder.serving.outputs import Exchange
from influcoder.serving.provenance import Provenance
from influcoder.settings.tree import load_settings


@dataclass(frozen=True)
class Answer:
    """The most and the least influential samples of one output.

    Args:
        output: the output.
        found: both ends of the ranking.
        provenance: of the encoder and the index that ranked them.
        warnings: what a reader must know before believing it.
    """

    output: Sample
    found: Ranking
    provenance: Provenance
    warnings: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each sample, the most influential first, then the least; each says what stands behind it."""
        behind = self.provenance.row()
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
                **behind,
                "warnings": list(self.warnings),
            }
            for end, item in self.found.ends
        ]


def output_of(champion: ServedChampion, exchange: Exchange) -> Sample:
    """What is to be attributed, as a sample; the decoder in use answers where no answer is given.

    Raises:
        SampleError: there is neither a prompt nor an answer, or the decoder answers with nothing.
    """
    if exchange.sample is not None:
        return exchange.sample
    prompt, answer = exchange.prompt, exchange.answer
    if not prompt.strip() and not answer.strip():
        raise SampleError("there is nothing to attribute.", "Give --prompt, --answer or both.")
    context = _chat(champion, prompt) if prompt else ""
    target = answer or champion.decoder.generate(context)
    if not target.strip():
        raise SampleError("the decoder answers this prompt with nothing.", "Give an answer, or another prompt.")
    return Sample(exchange.id or content_id(context, target), context, target, f"{prompt}\n{target}".strip(), "output")


def attribute(
    champion: ServedChampion, outputs: Sequence[Sample], k: int, least: int = 0, exact: int = 0, private: bool = False
) -> list[Answer]:
    """Attribute outputs, and log what was asked unless it is private.

    Args:
        champion: the encoder and its index.
        outputs: what the decoder said.
        k: how many of the most influential samples.
        least: how many of the least influential ones.
        exact: of how many of each end exact influence is computed, too.
        private: leave them out of the log of questions.
    """
    found = attribute_from(champion.index, champion.embeds, outputs, k, least)
    if exact:
        found = [_verified(champion, *pair, exact) for pair in zip(outputs, found, strict=True)]
    encoder, decoder = champion.version.version, champion.fingerprint
    remember(champion.store, champion.settings.asked, outputs, encoder, decoder, private)
    behind = (champion.provenance, champion.warnings())
    return [Answer(output, ranking, *behind) for output, ranking in zip(outputs, found, strict=True)]


def attribute_one(
    prompt: str,
    answer: str | None,
    k: int,
    exact: int = 0,
    least: int = 0,
    corpus: str | None = None,
    private: bool = False,
) -> Answer:
    """Attribute one output with the champion of the settings; see `attribute`."""
    champion = ServedChampion(load_settings(corpus=corpus or None))
    output = output_of(champion, Exchange(prompt=prompt, answer=answer or ""))
    return attribute(champion, [output], k, least, exact, private)[0]


def _chat(champion: ServedChampion, prompt: str) -> str:
    known = noted(champion.settings.decoder)
    if known is not None:
        return known.chat(prompt)
    tokenizer = champion.decoder.tokenizer
    if not tokenizer.chat_template:
        return prompt
    message = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))


def _verified(champion: ServedChampion, output: Sample, found: Ranking, exact: int) -> Ranking:
    checked = Ranking(found.most[:exact], found.least[:exact]).samples
    return verify(found, champion.exact([output], checked))
