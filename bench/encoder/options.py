"""What hidden states of the decoder add to a closed form, in ρ and in milliseconds.

Example: python -m bench.encoder.options --data ../shared/data
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.common import interleaved, spread, table
from bench.encoder.moves import Move, agreement_of, lessons, moves
from bench.encoder.run import BUDGET, DECODER, DOCUMENTS
from bench.encoder.setting import Setting, instructions
from influcoder.decoder.load import load_decoder
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import solve

OPTIONS = {"text alone": (), "states at 0.2": (0.2,), "states at 0.2 and 0.6": (0.2, 0.6)}
TIMED = 64


def main() -> None:
    """Solve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of queries and pool")
    parser.add_argument("--corpus", default="docs:numpy,scipy,pandas")
    parser.add_argument("--added", default="docs:sklearn,torch", help="what the decoder is fine-tuned on when it moves")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    move = moves(options.corpus, options.added, DOCUMENTS, 128, DECODER)[0]
    settings = {"documentation": (move.before, 128)}
    if (options.data / "queries_bbh.jsonl").is_file():
        settings = {"mixed pool": (instructions(options.data, BUDGET, 192, DECODER), 192), **settings}
    decoder = load_decoder(DECODER)
    found = {
        (name, place): solved(setting, decoder, limit, depths)
        for name, depths in OPTIONS.items()
        for place, (setting, limit) in settings.items()
    }
    views = [(sample.context, sample.target) for sample in move.before.samples[:TIMED]]
    timed = [found[name, "documentation"] for name in OPTIONS]
    seconds = interleaved([lambda encoder=encoder: encoder.embed(views) for encoder in timed], options.rounds)
    rows = []
    for name, encoder, each in zip(OPTIONS, timed, seconds, strict=True):
        milliseconds = [1000 * value / TIMED for value in each]
        figures = [agreement_of(found[name, place], setting) for place, (setting, _) in settings.items()]
        rows.append([name, *figures, moved(encoder, move), spread(milliseconds)])
    about = (
        f"Closed forms from the training labels of `encoder.md` and `encoder_documentation.md`, decoder `{DECODER}`: "
        "mean per-query ρ on the report samples. After a move: the same encoder of documentation, with the hidden "
        f"states of a decoder that was fine-tuned for 20 steps on `{options.added}`, against that decoder's labels. "
        f"Milliseconds a sample of documentation (at most 128 tokens), {options.rounds} rounds in turns: median (least "
        "to most)."
    )
    table(["inputs", *settings, "documentation after a move", "milliseconds a sample"], rows, "encoder_options", about)


def solved(setting: Setting, decoder, max_tokens: int, depths: Sequence[float]) -> Encoder:
    """The product's closed form."""
    block = setting.blocks["train"]
    model, _ = solve(lessons([(setting, (block.queries, block.candidates))]), decoder, max_tokens, 0, depths)
    return Encoder.of(model, decoder)


def moved(encoder: Encoder, move: Move) -> str:
    """Agreement with the moved decoder, whose states are the encoder's input now."""
    return agreement_of(Encoder.of(encoder.model[0], move.decoder), move.after)


if __name__ == "__main__":
    main()
