"""Where fine-tuning stands between two steps: everything that the next step depends on, and how it is written down."""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from influcoder.encoder.checkpoints import Saved
from influcoder.encoder.model import Encoder
from influcoder.encoder.result import Epoch
from influcoder.labelsets import Block
from influcoder.settings.labels import EncoderSettings

Tensors = dict[str, torch.Tensor]
# Code that decides what a step does: a checkpoint of other code is no half of this training.
_CODE = ("fine_tuning.py", "losses.py", "model.py", "training.py")


@dataclass
class Training:
    """A training between two steps.

    Args:
        encoder: with the weights as they are.
        optimizer: of its weights.
        generator: draws the batches of each epoch.
        history: epochs that are finished, number 0 first.
        best: the epoch that is kept so far, number 0 before there is one.
        kept: its weights.
        losses: of the steps of the present epoch.
    """

    encoder: Encoder
    optimizer: torch.optim.Optimizer
    generator: np.random.Generator
    history: list[Epoch]
    best: Epoch
    kept: Tensors = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._drawn_from = copy.deepcopy(self.generator.bit_generator.state)

    def finished(self, settings: EncoderSettings) -> bool:
        """Whether there is no epoch to come."""
        last = self.history[-1].number
        return last >= settings.epochs or (last > 0 and last - self.best.number >= settings.patience)

    def close_epoch(self, rho: float) -> Epoch:
        """End the present epoch with its selection ρ, and keep its weights where that is the best."""
        epoch = Epoch(len(self.history), float(np.mean(self.losses)), rho)
        self.history.append(epoch)
        if self.best.number == 0 or np.nan_to_num(rho, nan=-1) > np.nan_to_num(self.best.rho, nan=-1):
            self.best, self.kept = epoch, copy.deepcopy(self.encoder.model.state_dict())
        self.losses = []
        self._drawn_from = copy.deepcopy(self.generator.bit_generator.state)
        return epoch

    def saved(self) -> Saved:
        """All of it, written down."""
        notes = {
            "history": [_without_nan(epoch) for epoch in self.history],
            "best": self.best.number,
            "losses": self.losses,
            # Batches of an epoch are drawn anew from where it began, and those that are done are left out.
            "generator": self._drawn_from,
        }
        optimizer = {
            f"{place}.{name}": value
            for place, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        parts = {"weights": self.encoder.model.state_dict(), "optimizer": optimizer, "random": _random_states()}
        if self.best.number:
            parts["kept"] = self.kept
        return Saved(notes, {name: _packed(tensors) for name, tensors in parts.items()})

    def restore(self, saved: Saved) -> None:
        """Go back to what was written down."""
        notes, tensors = saved.notes, {name: load(data) for name, data in saved.parts.items()}
        self.history = [_with_nan(epoch) for epoch in notes["history"]]
        self.best = self.history[notes["best"]]
        self.losses = list(notes["losses"])
        self.generator.bit_generator.state = notes["generator"]
        self._drawn_from = copy.deepcopy(notes["generator"])
        self.encoder.model.load_state_dict(tensors["weights"])
        self.kept = tensors.get("kept", {})
        state: dict[int, Tensors] = {}
        for name, value in tensors["optimizer"].items():
            place, _, what = name.partition(".")
            state.setdefault(int(place), {})[what] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        _set_random_states(tensors["random"])


def key_of(encoder: Encoder, train: Block, selection: Block, settings: EncoderSettings) -> str:
    """Hash of everything that a training follows from: where it starts, labels, settings, and code."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for block in (train, selection):
        hashes = [[sample.hash for sample in role] for role in (block.queries, block.candidates)]
        digest.update(json.dumps([hashes, block.is_square, str(block.labels.dtype)]).encode())
        digest.update(block.labels.tobytes())
    facts = [settings.model_dump(mode="json"), torch.__version__, str(encoder.model), encoder.model.max_seq_length]
    facts.append(encoder.model.tokenizer.get_vocab())
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for file in _CODE:
        digest.update(Path(__file__).with_name(file).read_bytes())
    return digest.hexdigest()


def _random_states() -> Tensors:
    """torch's own generators, which dropout draws from."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{f"cuda.{number}": state for number, state in enumerate(devices)}}


def _set_random_states(states: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    for name, state in states.items():
        if name != "cpu" and torch.cuda.is_available():
            torch.cuda.set_rng_state(state, int(name.removeprefix("cuda.")))


def _packed(tensors: Mapping[str, torch.Tensor]) -> bytes:
    # Copies, since weights may share memory, which the format refuses.
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})


def _without_nan(epoch: Epoch) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in asdict(epoch).items()}


def _with_nan(values: Mapping[str, Any]) -> Epoch:
    numbers: dict[str, Any] = {name: float("nan") if value is None else value for name, value in values.items()}
    return Epoch(**numbers)
