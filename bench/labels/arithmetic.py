"""The arithmetic that labelling really does, and the rate that a plain matrix product reaches under like conditions.

What is counted are the operations of matrix products and of attention, as the kernels do them: the head for the
positions where it is computed, the adapter's products, padding, and all of the square of an attention that is
causal but computed whole. Adding up a sketch, norms and activations count for nothing, though they take time.
"""

import threading
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

# The attention kernel for CPUs takes keys in blocks of so many, and leaves out those that lie wholly in the future
# (torch's FlashAttentionKernel.cpp); torch's own counter does not know this kernel.
KEY_BLOCK = 512
CUBES = (1024, 2048)


def operations(work: Callable[[], object]) -> int:
    """Operations of the matrix products and attention of a work, forward and backward.

    Args:
        work: computes in this thread alone: the counter doesn't see what others do.
    """
    kernels = torch.ops.aten
    formulas = {
        kernels._scaled_dot_product_flash_attention_for_cpu: _attention,
        kernels._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        work()
    return counter.get_total_flops()


def _attention(query, key, _value, _dropout=0.0, causal=False, **_rest) -> int:
    """Two products: the scores, and the mean of the values."""
    return 2 * _product(query, key, causal)


def _attention_backward(_grad, query, key, _value, _out, _lse, _dropout, causal, **_rest) -> int:
    """Five products: the scores once more, and the gradients of weights, values, queries and keys."""
    return 5 * _product(query, key, causal)


def _product(query, key, causal) -> int:
    samples, heads, queries, width = query
    keys = key[2]
    seen = [min(keys, (row // KEY_BLOCK + 1) * KEY_BLOCK) for row in range(queries)] if causal else [keys] * queries
    return 2 * samples * heads * width * sum(seen)


def matmul_rate(seconds: float = 0.5) -> float:
    """Billions of operations a second of a plain float32 matrix product, the best of several ways.

    Args:
        seconds: how long each way is timed: two sizes, each as one product on all cores and as a product for each
            core in a thread of its own.
    """
    cores = torch.get_num_threads()
    try:
        return max(_rate(size, workers, cores, seconds) for size in CUBES for workers in {1, cores})
    finally:
        torch.set_num_threads(cores)


def _rate(size: int, workers: int, cores: int, seconds: float) -> float:
    rates: list[float] = []
    ready = threading.Barrier(workers)

    def multiply() -> None:
        # MKL's number of threads is each thread's own.
        torch.set_num_threads(max(1, cores // workers))
        left, right, out = (torch.randn(size, size) for _ in range(3))
        torch.mm(left, right, out=out)
        ready.wait()
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            torch.mm(left, right, out=out)
            count += 1
        rates.append(count * 2 * size**3 / (time.perf_counter() - start) / 1e9)

    threads = [threading.Thread(target=multiply) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)
