"""Batches within a budget that shrinks when memory really runs out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from influcoder.errors import MemoryShortError
from influcoder.influence.batching import in_batches, is_out_of_memory

LENGTHS = st.lists(st.integers(1, 200), max_size=60)


def groups(lengths, budget):
    return [batch for batch, _ in in_batches(lengths, budget, [len])]


@given(lengths=LENGTHS, budget=st.integers(1, 1000))
def test_a_partition_within_the_budget_from_long_to_short(lengths, budget):
    found = groups(lengths, budget)
    assert sorted(index for group in found for index in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or len(group) * max(lengths[index] for index in group) <= budget for group in found)
    assert [lengths[index] for group in found for index in group] == sorted(lengths, reverse=True)


def test_the_budget_is_used():
    assert [len(group) for group in groups([10] * 25, 100)] == [10, 10, 5]


def hungry(most):
    """Work that asks torch for more memory than any machine has where a batch is larger than `most`."""

    def work(batch):
        if len(batch) > most:
            torch.empty(2**59, dtype=torch.uint8)
        return len(batch)

    return work


def test_the_budget_halves_and_no_sample_is_lost_or_done_twice():
    done = list(in_batches([10] * 23, 160, [hungry(4)]))
    assert [size for _, size in done] == [4, 4, 4, 4, 4, 3]
    assert sorted(index for batch, _ in done for index in batch) == list(range(23))


def test_one_sample_that_does_not_fit_is_a_clear_error():
    with pytest.raises(MemoryShortError, match=r"a single sample of 31 tokens .* Lower teacher.max_tokens"):
        list(in_batches([7, 31, 5], 100, [hungry(0)]))


def test_other_errors_are_not_swallowed():
    def work(_batch):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(in_batches([1], 10, [work]))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")])
def test_every_kind_of_memory_error_is_known(error):
    assert is_out_of_memory(error)
