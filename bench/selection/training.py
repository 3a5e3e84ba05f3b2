"""Training of a decoder's last blocks alone: what the blocks below make of a sample is computed once, for all runs.

Below the trained blocks nothing changes, so their output is the same in every step of every run; a step costs a third.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from bench.selection.setting import Plan, Setting
from influcoder.attribution import steering
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder, block_names, linear_names
from influcoder.influence.features.passes import sample_losses
from influcoder.samples import Sample

Rows = list[dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Ground:
    """What all runs share.

    Args:
        decoder: where they start from.
        setting: the samples.
        plan: sizes.
    """

    decoder: Decoder
    setting: Setting
    plan: Plan

    @cached_property
    def pool(self) -> Rows:
        """Training rows: what the blocks below make of each sample, and its labels."""
        return self._below(self.setting.pool)

    @cached_property
    def validation(self) -> Rows:
        """The same of the validation samples."""
        return self._below(self.setting.validation)

    def top(self) -> Any:
        """The last blocks and the head, which take `inputs_embeds`; weights are those of the decoder."""
        model = self.decoder.twin().model
        blocks = block_names(model)[-self.plan.blocks :]
        parent, _, name = blocks[0].rpartition(".")[0].rpartition(".")
        kept = torch.nn.ModuleList([model.get_submodule(block) for block in blocks])
        setattr(model.get_submodule(parent), name, kept)
        return model

    def _below(self, samples: Sequence[Sample]) -> Rows:
        rows = steering.training_rows(self.decoder.tokenizer, samples, self.plan.max_tokens)
        found = []
        with progress("the blocks below", len(rows)) as ticker:
            for row in rows:
                found.append({"inputs_embeds": self._states(row["input_ids"]), "labels": torch.tensor(row["labels"])})
                ticker.advance()
        self._check(rows[0]["input_ids"], found[0])
        return found

    def _states(self, ids: list[int]) -> torch.Tensor:
        first = self.decoder.model.get_submodule(block_names(self.decoder.model)[-self.plan.blocks])
        seen: list[torch.Tensor] = []

        def keep(_block: Any, args: tuple[Any, ...], more: dict[str, Any]) -> None:
            seen.append((args[0] if args else more["hidden_states"])[0].clone())
            raise _EnoughError

        hook = first.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with torch.no_grad():
                self.decoder.model(input_ids=torch.tensor([ids]), use_cache=False)
        except _EnoughError:
            pass
        finally:
            hook.remove()
        return seen[0]

    def _check(self, ids: list[int], row: dict[str, torch.Tensor]) -> None:
        """The two halves are the decoder; some architectures add positions to `inputs_embeds`."""
        with torch.no_grad():
            whole = self.decoder.model(input_ids=torch.tensor([ids])).logits
            halves = self.top()(inputs_embeds=row["inputs_embeds"][None], use_cache=False).logits
        torch.testing.assert_close(halves, whole, atol=1e-3, rtol=1e-3)


class _EnoughError(Exception):
    """The blocks below have been passed."""


def run(ground: Ground, weights: np.ndarray | None, seed: int) -> dict[str, Any]:
    """Train once; the validation loss afterwards, and the share of the draws that were of the domain's source."""
    import peft
    from transformers import Trainer, TrainingArguments

    plan, setting = ground.plan, ground.setting
    torch.manual_seed(seed)
    model = ground.top()
    names = list(linear_names(model))
    config = peft.LoraConfig(r=plan.rank, lora_alpha=2 * plan.rank, lora_dropout=0.0, target_modules=names)
    model = peft.get_peft_model(model, config)
    sampler = steering.InfluenceSampler(len(setting.pool), seed, weights)
    drawn = [setting.pool[row].source for row in list(sampler)[: plan.steps * plan.batch]]
    sizes = {"max_steps": plan.steps, "per_device_train_batch_size": plan.batch, "learning_rate": plan.learning_rate}
    quiet = {"report_to": [], "save_strategy": "no", "disable_tqdm": True, "logging_steps": plan.steps, "use_cpu": True}
    with TemporaryDirectory() as folder:
        args = TrainingArguments(folder, seed=seed, remove_unused_columns=False, **sizes, **quiet)
        trainer = Trainer(model, args, train_dataset=ground.pool, data_collator=_collate)
        trainer._get_train_sampler = lambda _dataset=None: sampler
        trainer.train()
    share = sum(source == setting.queries[0].source for source in drawn) / len(drawn)
    return {"loss": validation_loss(model, ground.validation), "share": share}


def validation_loss(model: Any, rows: Rows) -> float:
    """Mean over samples of their loss in nats a target token."""
    model.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 8):
            batch = _collate(rows[start : start + 8])
            labels = batch.pop("labels")
            found.append(sample_losses(model(**batch).logits, labels, "mean"))
    return float(torch.cat(found).mean())


def _collate(rows: Rows) -> dict[str, torch.Tensor]:
    states = pad_sequence([row["inputs_embeds"] for row in rows], batch_first=True)
    labels = pad_sequence([row["labels"] for row in rows], batch_first=True, padding_value=-100)
    mask = pad_sequence([torch.ones(len(row["labels"]), dtype=torch.long) for row in rows], batch_first=True)
    return {"inputs_embeds": states, "attention_mask": mask, "labels": labels}
