"""Batches within a budget that shrinks when memory really runs out."""

import threading
import time
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from influcoder.core.errors import MemoryShortError
from influcoder.influence.features.batching import Batching, in_batches, is_out_of_memory

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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_kind_of_memory_error_is_known(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_do_every_sample_once_and_the_budget_halves_for_all(workers):
    done = list(in_batches([10] * 23, 160, [hungry(4)] * workers))
    assert sorted(index for batch, _ in done for index in batch) == list(range(23))
    # A last batch of 7 that does not fit is halved to 3.
    assert max(size for _, size in done) in (3, 4)


def test_workers_run_at_the_same_time_and_the_longest_first():
    together = threading.Barrier(2, timeout=20)

    def work(batch):
        together.wait()
        return len(batch)

    done = [batch for batch, _ in in_batches([3, 9, 5, 7], 1, [work, work])]
    assert sorted(done[:2]) == [[1], [3]]
    assert sorted(done[2:]) == [[0], [2]]


def shared_room(most):
    """Work that takes a unit of room a sample while it runs; beyond `most` at once it asks torch for too much."""
    lock, used = threading.Lock(), [0]

    def work(batch):
        with lock:
            used[0] += len(batch)
            full = used[0] > most
        try:
            if full:
                torch.empty(2**59, dtype=torch.uint8)
            time.sleep(0.01)
            return len(batch)
        finally:
            with lock:
                used[0] -= len(batch)

    return work


@pytest.mark.parametrize("room", [1, 2])
def test_samples_that_fit_only_beside_fewer_others_are_done_by_fewer_workers(room):
    done = list(in_batches([7] * 9, 7, [shared_room(room)] * 3))
    assert sorted(index for batch, _ in done for index in batch) == list(range(9))


def test_a_batch_that_comes_back_stands_behind_longer_ones_again():
    """The short batch fails after the long one: what is taken next must still begin with the longest."""
    together, tries, lengths = threading.Barrier(2, timeout=20), [], [40, 40, 10, 10, 10, 10, 10]

    def work(batch):
        tries.append(batch)
        if len(tries) <= 2:
            together.wait()
            time.sleep(0 if lengths[batch[0]] == 40 else 0.1)
            torch.empty(2**59, dtype=torch.uint8)
        time.sleep(0.2 if batch == [0] else 0)
        return len(batch)

    done = [batch for batch, _ in in_batches(lengths, 80, [work, work])]
    assert sorted(index for batch in done for index in batch) == list(range(7))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 40 for batch in done)


def test_samples_that_fail_in_the_same_moment_are_tried_again_alone():
    together, tries = threading.Barrier(2, timeout=20), []

    def work(batch):
        tries.append(batch)
        if len(tries) <= 2:
            together.wait()
            torch.empty(2**59, dtype=torch.uint8)
        return len(batch)

    done = in_batches([5, 5], 5, [work, work])
    assert sorted(index for batch, _ in done for index in batch) == [0, 1]


@pytest.mark.parametrize("workers", [2, 3])
def test_one_sample_that_does_not_fit_alone_either_is_a_clear_error(workers):
    with pytest.raises(MemoryShortError, match=r"a single sample of 31 tokens .* Lower teacher.max_tokens"):
        list(in_batches([7, 31, 5], 100, [hungry(0)] * workers))


@pytest.fixture
def four_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_each_worker_has_its_share_of_the_cores(four_cores):
    found = [cores for _, cores in in_batches([1, 1, 1, 1], 1, [lambda _batch: torch.get_num_threads()] * 2)]
    assert found == [2, 2, 2, 2]
    assert torch.get_num_threads() == 4


def test_other_errors_of_a_worker_are_not_swallowed_and_give_the_cores_back(four_cores):
    def work(batch):
        if batch == [1]:
            raise RuntimeError("shape mismatch")
        return len(batch)

    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(in_batches([1, 1, 1], 1, [work, work]))
    assert torch.get_num_threads() == 4


def test_batches_that_nobody_waits_for_any_more_give_the_cores_back(four_cores):
    batches = in_batches([1] * 9, 1, [len, len])
    next(batches)
    batches.close()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_that_did_not_fit_is_out_of_memory_before_the_next_begins(workers):
    held, seen = [], []

    def work(batch):
        seen.append([reference() is not None for reference in held])
        if not held:
            activations = torch.zeros(1000)
            held.append(weakref.ref(activations))
            torch.empty(2**59, dtype=torch.uint8)
        return len(batch)

    list(in_batches([10, 10], 20, [work] * workers))
    assert seen[0] == []
    assert [any(alive) for alive in seen[1:]] == [False] * len(seen[1:])
    assert len(seen) > 1


def test_workers_are_never_more_than_the_cores(tiny_decoder, four_cores):
    def shares(workers):
        budget, works = Batching(100, workers).share(tiny_decoder, len)
        assert budget == 100
        return len(works)

    assert [shares(workers) for workers in (1, 2, 3, 4, 9, 0)] == [1, 2, 3, 4, 4, 4]
