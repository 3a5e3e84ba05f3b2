"""The world before and after a change: another decoder under the same data, other data under the same decoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.encoder.setting import Setting, documentation, labelled
from bench.lds.setting import bench_folder, key
from influcoder.core.files import whole
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import TrainingSamples
from influcoder.influence.features.decoder_tuning import fine_tune
from influcoder.samples import read_corpus
from influcoder.samples.splits import in_split
from influcoder.settings.labels import LabelBudget
from influcoder.statistics.agreement import per_query_spearman

Rows = tuple[np.ndarray, np.ndarray]
TUNING = {"steps": 20, "batch": 2, "learning_rate": 1e-3, "max_tokens": 128}


@dataclass(frozen=True)
class Move:
    """A change of the world.

    Args:
        name: for the table.
        before: what the champion was distilled from.
        after: what it has to answer for now.
        decoder: the decoder after it.
    """

    name: str
    before: Setting
    after: Setting
    decoder: Decoder

    @property
    def same_decoder(self) -> bool:
        """Whether labels of before and after are of one geometry."""
        return self.before.teacher == self.after.teacher

    def quarter(self) -> tuple[np.ndarray, np.ndarray]:
        """A quarter of the new training queries and candidates, in the order of the draw."""
        block = self.after.blocks["train"]
        return tuple(rows[: len(rows) // 4] for rows in (block.queries, block.candidates))


def moves(corpus: str, added: str, budget: LabelBudget, max_tokens: int, decoder: str) -> list[Move]:
    """Both changes; labels are made once and kept.

    Args:
        corpus: what the champion was distilled on.
        added: what comes to it, and what the decoder is fine-tuned on.
        budget: how many samples are labelled, before and after.
        max_tokens: length limit of the decoder.
        decoder: URI of the decoder before.
    """
    before = documentation(corpus, budget, max_tokens, decoder)
    moved = _moved(decoder, added)
    blocks = {
        name: tuple([before.samples[row] for row in rows] for rows in (block.queries, block.candidates))
        for name, block in before.blocks.items()
    }
    return [
        Move("the decoder moved", before, labelled(blocks, max_tokens, str(moved)), load_decoder(str(moved))),
        Move("the data moved", before, documentation(added, budget, max_tokens, decoder), load_decoder(decoder)),
    ]


def lessons(parts: Sequence[tuple[Setting, Rows]]) -> TrainingSamples:
    """What a closed form learns from: queries and candidates of one or several settings, all of one teacher."""
    samples, features, roles = [], [], []
    for setting, rows in parts:
        for role, places in zip(("query", "candidate"), rows, strict=True):
            samples += [setting.samples[place] for place in places]
            features.append(setting.own[places].astype(np.float32))
            roles += [role] * len(places)
    vectors = np.concatenate(features)
    gram = vectors @ vectors.T
    np.fill_diagonal(gram, np.nan)
    return TrainingSamples(
        samples, gram, *(np.flatnonzero([r == role for r in roles]) for role in ("query", "candidate"))
    )


def agreement_of(encoder: Encoder, setting: Setting) -> str:
    """Mean per-query ρ on the report samples."""
    block = setting.blocks["report"]
    queries, candidates = ([setting.samples[row] for row in rows] for rows in (block.queries, block.candidates))
    return f"{np.nanmean(per_query_spearman(encoder.scores(queries, candidates), setting.labels('report'))):.3f}"


def _moved(decoder: str, corpus: str) -> Path:
    """A checkpoint that a short fine-tuning on another corpus gives."""
    old, pool = load_decoder(decoder), read_corpus(corpus)
    folder = bench_folder() / "decoders" / key(old.fingerprint, pool.digest, TUNING)
    if not folder.is_dir():
        with whole(folder) as part:
            fine_tune(old, in_split(pool.samples, "train"), **TUNING).save(part)
    return folder
