"""Batches of like length under a token budget that shrinks when memory runs out."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from influcoder.errors import MemoryShortError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def in_batches(
    lengths: Sequence[int], token_budget: int, work: Callable[[list[int]], Result]
) -> Iterator[tuple[list[int], Result]]:
    """Work on indices grouped by like length, longest first, so that memory runs out at the start or never.

    Args:
        lengths: tokens of each sample.
        token_budget: padded tokens in one batch; halved for good each time that memory runs out.
        work: is given the indices of a batch.
    Yields:
        the indices of a batch and what the work gave.
    Raises:
        MemoryShortError: a batch of one sample does not fit.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        batch = _fitting(order, start, lengths, token_budget)
        try:
            result = work(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            token_budget = _halved(batch, lengths)
        else:
            yield batch, result
            start += len(batch)
            continue
        _free()
        logger.warning("memory ran out; going on with batches of %d tokens", token_budget)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, of torch on a CPU or of torch on a GPU says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _WORDS)


def _fitting(order: Sequence[int], start: int, lengths: Sequence[int], token_budget: int) -> list[int]:
    count = max(1, token_budget // max(1, lengths[order[start]]))
    return list(order[start : start + count])


def _halved(batch: Sequence[int], lengths: Sequence[int]) -> int:
    longest = lengths[batch[0]]
    if len(batch) == 1:
        raise MemoryShortError(
            f"a single sample of {longest} tokens does not fit into memory.", "Lower teacher.max_tokens."
        )
    return len(batch) // 2 * longest


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
