"""Features in a file: the same numbers as in memory, and a full disk is said before it kills."""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from influcoder.cli import app as cli
from influcoder.influence.features import vectors
from influcoder.influence.features.cache import FeatureTable, Gathering
from influcoder.influence.features.vectors import Rows, on_disk, products

SHARED_MEMORY = Path("/dev/shm")


def filled(rows, width, dtype="float32"):
    array = on_disk(rows, width, dtype)
    array[:] = np.random.default_rng(0).normal(size=(rows, width))
    return array


def test_an_array_on_disk_begins_with_zeros_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = on_disk(50, 7, np.float16)
    assert isinstance(array, np.memmap)
    assert (array.shape, array.dtype, array.any()) == ((50, 7), np.float16, False)
    array[3] = 1
    assert array.sum() == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_nothing_needs_no_file(shape):
    assert on_disk(*shape, np.float32).shape == shape


@pytest.mark.parametrize("numbers", [[], [4], [4, 0, 4], list(range(9, -1, -1))], ids=str)
def test_rows_read_what_an_array_in_memory_holds(numbers):
    array = filled(10, 6)
    rows, plain = Rows.of(array, numbers), np.array(array)[np.array(numbers, int)]
    assert isinstance(rows, Rows)
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == (plain.shape, 2, np.float32, len(numbers))
    np.testing.assert_array_equal(rows[:], plain)
    np.testing.assert_array_equal(rows[1:3], plain[1:3])
    np.testing.assert_array_equal(np.asarray(rows), plain)
    assert np.asarray(rows, np.float64).dtype == np.float64


def test_rows_of_rows_name_the_rows_of_the_source():
    array = filled(10, 6)
    rows = Rows.of(Rows.of(array, [7, 2, 5, 2]), [3, 0])
    assert rows.source is array
    np.testing.assert_array_equal(rows[:], np.array(array)[[2, 7]])


def test_rows_of_an_array_in_memory_are_a_copy():
    array = np.arange(6.0).reshape(3, 2)
    chosen = Rows.of(array, [2, 0])
    assert isinstance(chosen, np.ndarray)
    chosen[:] = 0
    assert array[2].tolist() == [4, 5]


@given(left=st.integers(0, 9), right=st.integers(0, 9), width=st.integers(1, 8), chunk=st.integers(1, 40))
@pytest.mark.parametrize("stored", ["memory", "disk"])
def test_products_do_not_depend_on_how_many_rows_are_read_at_once(stored, left, right, width, chunk):
    draw = np.random.default_rng(left * 10 + right)
    rows = [draw.normal(size=(count, width)).astype(np.float32) for count in (left, right)]
    parts = [Rows.of(on_disk_copy(part), range(len(part))) if stored == "disk" else part for part in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "_CHUNK_NUMBERS", chunk)
        found = products(*parts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, rows[0] @ rows[1].T, atol=1e-5)


def on_disk_copy(part):
    array = on_disk(*part.shape, part.dtype)
    array[:] = part
    return array


def test_products_of_some_columns_with_others():
    left, right = filled(5, 8), filled(4, 8)
    found = products(left, right, slice(0, 4), slice(4, None))
    np.testing.assert_allclose(found, np.array(left)[:, :4] @ np.array(right)[:, 4:].T, rtol=1e-5, atol=1e-6)


def test_half_precision_is_stored_and_not_summed():
    """In half precision a sum of 4096 ones ends at 2048."""
    ones = np.ones((1, 4096), np.float16)
    assert products(ones, ones).tolist() == [[4096]]


def table(hashes, dtype=np.float32, width=3):
    draw = np.random.default_rng(sum(map(ord, hashes)))
    columns = draw.random((3, len(hashes))).astype(np.float32)
    return FeatureTable(hashes, draw.normal(size=(len(hashes), width)).astype(dtype), *columns)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_gathered_rows_stand_in_the_order_asked_for(dtype):
    parts = [table(("c", "a"), dtype), table(("e",), dtype), table((), dtype)]
    gathered = FeatureTable.gather(parts, ["e", "a", "b", "c", "d"])
    assert gathered.hashes == ("e", "a", "c")
    assert isinstance(gathered.vectors, Rows)
    assert gathered.vectors.dtype == dtype
    whole = FeatureTable.concatenate(parts).select(gathered.hashes)
    for name in ("vectors", "norms", "losses", "cuts"):
        np.testing.assert_array_equal(np.asarray(getattr(gathered, name)), getattr(whole, name))


def test_a_gathering_shows_what_came_so_far():
    gathering = Gathering(["a", "b"])
    assert gathering.table().hashes == ()
    gathering.add(table(("b",)))
    assert gathering.table().hashes == ("b",)


def test_a_selection_of_gathered_rows_is_read_from_the_same_file():
    gathered = FeatureTable.gather([table(("a", "b", "c"))], ["a", "b", "c"])
    chosen = gathered.select(["c", "a"])
    assert chosen.vectors.source is gathered.vectors.source
    np.testing.assert_array_equal(chosen.vectors[:], gathered.vectors[:][[2, 0]])
    assert chosen.norms.tolist() == gathered.norms[[2, 0]].tolist()


@pytest.mark.skipif(
    not SHARED_MEMORY.is_dir() or shutil.disk_usage(SHARED_MEMORY).total > 2**42,
    reason="needs a file system that knows its limit before it is reached",
)
def test_a_disk_without_room_is_one_line_for_the_user(monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(SHARED_MEMORY))
    monkeypatch.setattr(cli, "app", lambda: on_disk(shutil.disk_usage(SHARED_MEMORY).total // 1000 + 1, 1000, np.uint8))
    monkeypatch.setattr(sys, "argv", ["influcoder"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the disk is full")
    assert "run the same command again" in said
    assert len(said.strip().splitlines()) == 1
