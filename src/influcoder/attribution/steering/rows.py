"""A data set for the Trainer whose rows are samples, with the loss on the target alone."""

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import torch

from influcoder.core.errors import SampleError
from influcoder.influence.features.passes import padded
from influcoder.influence.features.tokens import Tokens, tokenize
from influcoder.samples import Sample

# How many rows are held against their samples, and how many letters of each target.
LOOKED_AT, LETTERS = 5, 24


def training_rows(tokenizer: Any, samples: Sequence[Sample], max_tokens: int) -> list[dict[str, list[int]]]:
    """`input_ids` and `labels` of samples, cut as labelling cuts them.

    Args:
        tokenizer: the decoder's.
        samples: what to train on.
        max_tokens: length limit of a sample.
    """
    return [_row(tokenize(tokenizer, sample, max_tokens)) for sample in samples]


def collate(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    """A batch of such rows, padded to the longest: `data_collator=collate`."""
    starts = [sum(label == -100 for label in row["labels"]) for row in rows]
    batch = [Tokens(tuple(row["input_ids"]), start, 0.0) for row, start in zip(rows, starts, strict=True)]
    ids, mask, labels = padded(batch, torch.device("cpu"))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def check_rows(rows: Sized, samples: Sequence[Sample], tokenizer: Any) -> None:
    """Refuse a data set whose rows are not the samples: estimates of one would steer the draws of another.

    Counts always have to fit. Where rows carry `input_ids`, the beginning of the target has to stand in one of five
    rows at least, whatever a template put around it.

    Raises:
        SampleError: they do not belong together.
    """
    hint = "Give the samples in the order of the data set's rows."
    if len(rows) != len(samples):
        raise SampleError(f"the data set has {len(rows)} rows, and there are {len(samples)} samples.", hint)
    places = [n * len(samples) // LOOKED_AT for n in range(LOOKED_AT)] if len(samples) > LOOKED_AT else []
    found = [rows[place] for place in places]  # type: ignore[index]
    if not found or not all(isinstance(row, Mapping) and "input_ids" in row for row in found):
        return
    texts = [_letters(tokenizer.decode(list(row["input_ids"]), skip_special_tokens=True)) for row in found]
    targets = [_letters(samples[place].target)[:LETTERS] for place in places]
    if not any(target in text for target, text in zip(targets, texts, strict=True)):
        raise SampleError("none of the rows looked at holds the target of its sample.", hint)


def _letters(text: str) -> str:
    return "".join(text.split())


def _row(tokens: Tokens) -> dict[str, list[int]]:
    labels = [-100] * tokens.target_start + list(tokens.ids[tokens.target_start :])
    return {"input_ids": list(tokens.ids), "labels": labels}
