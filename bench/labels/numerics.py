"""How far arithmetic alone moves a teacher's ranking: samples in other batches, other floating-point types.

Seeds, samples and weights stay as they are.

Example: python -m bench.labels.numerics --queries 16 --candidates 32
"""

from collections.abc import Sequence

import numpy as np

from bench.common import arguments, interleaved, prepare, ratios, rho, table
from bench.labels.rounding import in_dtype, rounded_to_bfloat16
from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.tokens import Tokens
from influcoder.settings.teacher import TeacherSpec

ROUNDS = 5


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, 16, 32)
    bench, spec = prepare(options), TeacherSpec(max_tokens=options.max_tokens)
    decoders = {
        "all rounded to bfloat16": rounded_to_bfloat16(bench.decoder),
        "weights rounded to bfloat16": in_dtype(in_dtype(bench.decoder, "bfloat16"), "float32"),
        "float64": in_dtype(bench.decoder, "float64"),
    }
    tokens = bench.tokens(options.max_tokens)
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
    alike, half = np.array_split(order, -(-len(order) // 2)), len(order) // 2
    # Padding and neighbours are others where a short sample is computed beside a long one.
    unlike = [np.array(pair) for pair in zip(order[-half:], order[:half], strict=True)] + [np.array(order[half:-half])]
    labels = bench.influence(features(bench.decoder, spec, tokens, alike))
    others = {"other batches": features(bench.decoder, spec, tokens, unlike)}
    others |= {name: features(decoder, spec, tokens, alike) for name, decoder in decoders.items()}
    batch = [tokens[row] for row in order[-4:]]
    works = [lambda one=one: extract_features(one, spec, batch) for one in (bench.decoder, *decoders.values())]
    # Other batches cost what padding they have, which hangs on the corpus: no figure for them.
    costs = [f"{m:.2f} ({lo:.2f} to {hi:.2f})" for m, lo, hi in ratios(interleaved(works, ROUNDS), 0)]
    rows = []
    for (name, found), price in zip(others.items(), ["", *costs[1:]], strict=True):
        scores = bench.influence(found)
        value, lo, hi = rho(scores, labels)
        rows.append([name, f"{value:.5f} [{lo:.5f}, {hi:.5f}]", f"{abs(scores - labels).max():.1e}", price])
    about = (
        f"The default teacher with itself where only arithmetic differs, {len(bench.queries)} queries × "
        f"{len(bench.candidates)} candidates of `{options.corpus}`, at most {options.max_tokens} tokens, decoder "
        f"`{options.decoder}`; cost of a pass relative to float32, median of {ROUNDS} interleaved rounds (least to "
        "most)."
    )
    head = ["what differs", "mean per-query ρ [95 %]", "largest change of a cosine", "relative cost"]
    table(head, rows, "label_numerics", about)


def features(
    decoder: Decoder, spec: TeacherSpec, tokens: Sequence[Tokens], batches: Sequence[np.ndarray]
) -> np.ndarray:
    """Features of all samples, computed batch by batch, shape (samples, dimensions)."""
    found = np.zeros((len(tokens), spec.projection_dim), np.float32)
    for batch in batches:
        if len(batch):
            found[batch] = extract_features(decoder, spec, [tokens[row] for row in batch]).vectors
    return found


if __name__ == "__main__":
    main()
