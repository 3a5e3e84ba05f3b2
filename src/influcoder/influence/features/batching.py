"""Batches of like length under a token budget that shrinks when memory runs out, several at a time on a CPU."""

import gc
import logging
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from influcoder.core.errors import MemoryShortError
from influcoder.decoder.checkpoint import Decoder

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Work = Callable[[list[int]], Result]
# The last is cuBLAS, which reserves memory of its own at the first product.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "cublas_status_alloc_failed")
# Measured on two cores, 256 tokens a batch are as fast as 1024 and need a quarter of the memory.
CPU_TOKENS = 256
CUDA_TOKENS = 16384
MOST_WORKERS = 4


@dataclass(frozen=True)
class Batching:
    """How much is worked on at once.

    Args:
        token_budget: padded tokens in one batch; 0 chooses by the hardware.
        workers: batches at a time; 0 chooses by the hardware. On a CPU each has a share of the cores, which is
            quicker than one batch on all of them; on a GPU it is one.
    """

    token_budget: int = 0
    workers: int = 0

    def share(self, decoder: Decoder, work: Callable[[Decoder, list[int]], Result]) -> tuple[int, list[Work[Result]]]:
        """The token budget, and the work for each worker with a decoder of its own: hooks must not meet.

        Args:
            decoder: its weights are shared by all.
            work: is given a decoder and the indices of a batch.
        """
        cpu = decoder.model.device.type == "cpu"
        cores = torch.get_num_threads() if cpu else 1
        workers = min(self.workers or min(cores, MOST_WORKERS), cores)
        decoders = [decoder, *(decoder.twin() for _ in range(workers - 1))]
        budget = self.token_budget or (CPU_TOKENS if cpu else CUDA_TOKENS)
        return budget, [partial(work, own) for own in decoders]


def in_batches(
    lengths: Sequence[int], token_budget: int, works: Sequence[Work[Result]]
) -> Iterator[tuple[list[int], Result]]:
    """Work on indices grouped by like length, longest first, so that memory runs out at the start or never.

    Args:
        lengths: tokens of each sample.
        token_budget: padded tokens in one batch; halved for good each time that memory runs out.
        works: each is given the indices of a batch; two and more run at the same time, each in a thread of its own
            that has its share of the cores.
    Yields:
        the indices of a batch and what the work gave.
    Raises:
        MemoryShortError: a batch of one sample does not fit.
    """
    queue = _Queue(lengths, token_budget)
    if len(works) == 1:
        yield from _one_by_one(queue, works[0])
        return
    workers, idle, running = len(works), list(works), dict[Future[Result], tuple[Work[Result], list[int], bool]]()
    with _shared_cores(workers), ThreadPoolExecutor(workers) as pool:
        while queue or running:
            while queue and idle:
                work, batch = idle.pop(), queue.take()
                running[pool.submit(work, batch)] = (work, batch, workers == 1)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                work, batch, alone = running.pop(future)
                try:
                    result = future.result()
                except (RuntimeError, MemoryError) as error:
                    queue.put_back(batch, error, alone)
                    if len(batch) == 1 and workers > 1:
                        # It may fit once the others no longer take their part: go on with a worker less.
                        workers -= 1
                        continue
                else:
                    yield batch, result
                idle.append(work)


def _one_by_one(queue: "_Queue", work: Work[Result]) -> Iterator[tuple[list[int], Result]]:
    while queue:
        batch = queue.take()
        try:
            result = work(batch)
        except (RuntimeError, MemoryError) as error:
            queue.put_back(batch, error)
        else:
            yield batch, result


class _Queue:
    """Indices that are still to be worked on, longest first."""

    def __init__(self, lengths: Sequence[int], token_budget: int) -> None:
        self._lengths = lengths
        self._budget = token_budget
        self._left = self._sorted(range(len(lengths)))

    def __bool__(self) -> bool:
        return bool(self._left)

    def take(self) -> list[int]:
        count = max(1, self._budget // max(1, self._lengths[self._left[0]]))
        return [self._left.popleft() for _ in range(min(count, len(self._left)))]

    def put_back(self, batch: list[int], error: BaseException, alone: bool = True) -> None:
        if not is_out_of_memory(error):
            raise error
        longest = self._lengths[batch[0]]
        if len(batch) == 1 and alone:
            raise MemoryShortError(
                f"a single sample of {longest} tokens does not fit into memory.", "Lower teacher.max_tokens."
            ) from error
        self._budget = min(self._budget, max(1, len(batch) // 2) * longest)
        # Several workers come back in any order, and a batch is counted by its first, the longest.
        self._left = self._sorted([*batch, *self._left])
        # The error keeps the frames that it passed, and those the tensors of the batch that did not fit.
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        logger.warning("memory ran out; going on with batches of %d tokens", self._budget)

    def _sorted(self, indices: Iterable[int]) -> deque[int]:
        return deque(sorted(indices, key=lambda index: -self._lengths[index]))


@contextmanager
def _shared_cores(workers: int) -> Iterator[None]:
    """Threads that start now have an equal share of the cores; afterwards all is as it was."""
    cores = torch.get_num_threads()
    torch.set_num_threads(max(1, cores // workers))
    try:
        yield
    finally:
        torch.set_num_threads(cores)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, of torch on a CPU or of torch on a GPU says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _WORDS)
