"""What an encoder is worth after the world has moved: the champion as it is, from scratch, and continued.

Example: python -m bench.encoder.continual --added docs:sklearn,torch
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from bench.common import table
from bench.encoder.moves import Move, agreement_of, lessons, moves
from bench.encoder.run import DECODER, DOCUMENTS
from bench.encoder.setting import Block, Setting
from bench.encoder.tuned import labels
from bench.lds.setting import bench_folder, key
from influcoder.core.files import whole
from influcoder.encoder import Encoder, distil
from influcoder.encoder.kernel_solver import solve
from influcoder.settings.labels import EncoderSettings

WINDOW = 128
HEAD = ("", "", "new labels", "processor seconds of training", "ρ on the labels before", "ρ on the new labels")


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--corpus", default="docs:numpy,scipy,pandas", help="what the champion was distilled on")
    parser.add_argument("--added", default="docs:sklearn,torch", help="what comes to it, and moves the decoder")
    parser.add_argument(
        "--short", action="store_true", help="after the data moved, fine-tune on a quarter of the labels alone"
    )
    options = parser.parse_args()
    rows = []
    for move in moves(options.corpus, options.added, DOCUMENTS, WINDOW, DECODER):
        rows += [[move.name, *row] for row in (*_closed(move), *_tuned(move, options.short and move.same_decoder))]
    about = (
        f"Champions are distilled from 100 × 200 training samples of `{options.corpus}` under `{DECODER}`. Then the "
        f"decoder moves (20 steps of full fine-tuning on `{options.added}`), or the data does (`{options.added}` under "
        "the same decoder). Labels: 300 new ones, or a quarter of them, in the order of the draw; each costs the exact "
        "labelling of a sample. Processor seconds are of all threads. Mean per-query ρ on 60 × 90 report samples, "
        "before and after; one seed."
    )
    table(HEAD, rows, "encoder_continual", about)


def _closed(move: Move) -> list[list[str]]:
    old, new = move.before.blocks["train"], move.after.blocks["train"]
    few, everything = move.quarter(), (new.queries, new.candidates)
    before = [(move.before, (old.queries, old.candidates))]
    choices = {
        ("closed form: the champion as it is", 0): before,
        ("closed form: from scratch", len(np.concatenate(few))): [(move.after, few)],
        ("closed form: from scratch ", len(np.concatenate(everything))): [(move.after, everything)],
    }
    if move.same_decoder:
        choices["closed form: with the labels before", len(np.concatenate(few))] = [(move.after, few), *before]
        choices["closed form: with the labels before ", len(np.concatenate(everything))] = [
            (move.after, everything),
            *before,
        ]
    rows = []
    for (name, count), parts in choices.items():
        start = time.process_time()
        model, _ = solve(lessons(parts), move.decoder, WINDOW, 0)
        seconds = time.process_time() - start
        encoder = Encoder.of(model)
        rows.append([name.strip(), str(count), f"{seconds:.1f}" if count else "–", *_judged(encoder, move)])
    return rows


def _tuned(move: Move, short: bool) -> list[list[str]]:
    start = Encoder(EncoderSettings().base, WINDOW)
    champion, _ = trained("champion", move.before, move.before.blocks["train"], start)
    new = move.after.blocks["train"]
    few = Block(*move.quarter())
    rows = [["fine-tuned: the champion as it is", "0", "–", *_judged(champion, move)]]
    choices = [("from scratch", few, None), ("from the champion", few, champion)]
    if not short:
        choices += [("from scratch", new, None), ("from the champion", new, champion)]
    for name, block, source in choices:
        start = Encoder(EncoderSettings().base if source is None else source.uri, WINDOW)
        encoder, seconds = trained(name, move.after, block, start)
        count = len(block.queries) + len(block.candidates)
        rows.append([f"fine-tuned: {name}", str(count), f"{seconds:.0f}", *_judged(encoder, move)])
    return rows


def trained(name: str, setting: Setting, block: Block, start: Encoder) -> tuple[Encoder, float]:
    """An encoder that was fine-tuned on some labels, and for how long; what was trained before is read."""
    settings = EncoderSettings(recipe="fine-tune", max_tokens=WINDOW)
    facts = (
        name,
        setting.teacher,
        [[setting.hashes[row] for row in rows] for rows in (block.queries, block.candidates)],
    )
    chosen = settings.model_dump()
    folder = bench_folder() / "encoders" / "continual" / key(*facts, chosen)
    if not folder.is_dir():
        blocks = {**setting.blocks, "train": block}
        begun = time.process_time()
        found = distil(start, labels(replace(setting, blocks=blocks)), settings)
        seconds = time.process_time() - begun
        with whole(folder) as part:
            found.encoder.save(part / "encoder")
            (part / "seconds").write_text(f"{seconds}")
    return Encoder(str(folder / "encoder"), WINDOW), float((folder / "seconds").read_text())


def _judged(encoder: Encoder, move: Move) -> list[str]:
    return [agreement_of(encoder, setting) for setting in (move.before, move.after)]


if __name__ == "__main__":
    main()
