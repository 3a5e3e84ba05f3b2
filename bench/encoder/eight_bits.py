"""What eight bits cost a fine-tuned encoder in ρ, and what they spare in time.

Example: python -m bench.encoder.eight_bits --rounds 5
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.common import interleaved, ratios, spread, table
from bench.encoder.continual import WINDOW, trained
from bench.encoder.run import DECODER, DOCUMENTS
from bench.encoder.setting import documentation
from influcoder.encoder import Encoder
from influcoder.encoder.eight_bit import put_in_eight_bits
from influcoder.settings.labels import EncoderSettings
from influcoder.statistics.agreement import per_query_spearman


def main() -> None:
    """Train where nothing is kept, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--corpus", default="docs:numpy,scipy,pandas", help="what the encoder is distilled on")
    parser.add_argument("--samples", type=int, default=128, help="embedded in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    setting = documentation(options.corpus, DOCUMENTS, WINDOW, DECODER)
    whole, _ = trained("champion", setting, setting.blocks["train"], Encoder(EncoderSettings().base, WINDOW))
    small = copy.deepcopy(whole)
    with tempfile.TemporaryDirectory() as folder:
        put_in_eight_bits(small.model, Path(folder))
        queries, candidates = (
            [setting.samples[row] for row in rows]
            for rows in (setting.blocks["report"].queries, setting.blocks["report"].candidates)
        )
        texts = [sample.text for sample in setting.samples[: options.samples]]
        works = {
            "float32, sentence-transformers' `encode`": lambda: whole.model.encode(texts),
            "float32": lambda: whole.embed(texts),
            "eight bits": lambda: small.embed(texts),
        }
        spent = [processor_seconds(work) for work in works.values()]
        seconds = interleaved(list(works.values()), options.rounds)
        found = [whole.scores(queries, candidates), small.scores(queries, candidates)]
        cosines = (whole.embed(texts) * small.embed(texts)).sum(1)
    rhos = [per_query_spearman(scores, setting.labels("report")) for scores in found]
    between = per_query_spearman(*found)
    difference = rhos[1] - rhos[0]
    rows = [
        [name, rho, spread(row), f"{1000 * cpu / len(texts):.1f}", f"{middle:.2f} ({least:.2f} to {most:.2f})"]
        for name, rho, row, cpu, (middle, least, most) in zip(
            works,
            ("as below", *(f"{np.nanmean(values):.4f}" for values in rhos)),
            [[1000 * value / len(texts) for value in row] for row in seconds],
            spent,
            ratios(seconds, 2),
            strict=True,
        )
    ]
    about = (
        f"A text encoder that was fine-tuned on `{options.corpus}` (`encoder_documentation.md`): mean per-query ρ with "
        f"exact influence on its report samples. Eight bits change a query's ρ by {np.nanmean(difference):+.4f} in the "
        f"mean ({np.nanmin(difference):+.3f} to {np.nanmax(difference):+.3f}), and rank candidates as float32 does at "
        f"ρ {np.nanmean(between):.4f}; cosine of a text's two vectors {cosines.mean():.4f} in the mean, "
        f"{cosines.min():.3f} at least. {len(texts)} texts of at most {WINDOW} tokens, {options.rounds} rounds in "
        "turns: median (least to most), ratios within a round. Processor milliseconds are of all threads, one round."
    )
    head = ["", "ρ", "milliseconds a sample", "processor milliseconds", "times eight bits"]
    table(head, rows, "encoder_eight_bits", about)


def processor_seconds(work: Callable[[], object]) -> float:
    """Of all threads, the second time."""
    work()
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
