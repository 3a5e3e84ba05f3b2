import pytest
import torch

from influcoder.influence.features.projection import CountSketch

CPU = torch.device("cpu")
INPUTS, OUTPUTS = 300, 64


def sketched(rows, key, outputs=OUTPUTS):
    into = torch.zeros(len(rows), outputs, dtype=rows.dtype)
    CountSketch.of(key, rows.shape[1], outputs, CPU).add(rows, into)
    return into


@pytest.fixture
def rows():
    return torch.randn(4, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_same_key_gives_the_same_sketch(rows):
    assert torch.equal(sketched(rows, "0:layer"), sketched(rows, "0:layer"))


@pytest.mark.parametrize("other", ["1:layer", "0:layer.1", ""])
def test_other_key_gives_another_sketch(rows, other):
    assert not torch.allclose(sketched(rows, "0:layer"), sketched(rows, other))


def test_streams_do_not_change_between_versions():
    # Features that were cached by an earlier version must stay comparable.
    sketch = CountSketch.of("0:layer", 6, 100, CPU)
    assert sketch.buckets.tolist() == [30, 46, 45, 20, 91, 72]
    assert sketch.signs.tolist() == [-1, 1, 1, -1, -1, -1]


def test_add_equals_a_dense_product(rows):
    sketch = CountSketch.of("0:layer", INPUTS, OUTPUTS, CPU)
    dense = torch.zeros(INPUTS, OUTPUTS, dtype=torch.float64)
    dense[torch.arange(INPUTS), sketch.buckets] = sketch.signs.double()
    torch.testing.assert_close(sketched(rows, "0:layer"), rows @ dense)


def test_add_adds(rows):
    into = sketched(rows, "a")
    CountSketch.of("b", INPUTS, OUTPUTS, CPU).add(rows, into)
    torch.testing.assert_close(into, sketched(rows, "a") + sketched(rows, "b"))


def test_signs_are_fair_and_buckets_reach_every_output():
    sketch = CountSketch.of("0:layer", 10_000, OUTPUTS, CPU)
    assert set(sketch.signs.tolist()) == {-1, 1}
    assert abs(sketch.signs.double().mean()) < 0.05
    assert set(sketch.buckets.tolist()) == set(range(OUTPUTS))


def test_inner_products_are_kept_in_expectation(rows):
    draws = torch.stack([(s := sketched(rows, str(seed))) @ s.T for seed in range(800)])
    exact = rows @ rows.T
    # Five standard errors of the mean.
    tolerance = 5 * draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - exact).abs() <= tolerance).all()


def test_error_falls_with_dimensions(rows):
    def error(outputs):
        draws = torch.stack([(s := sketched(rows, str(seed), outputs)) @ s.T for seed in range(100)])
        return (draws - rows @ rows.T).square().mean().sqrt()

    # The variance of an inner product goes with one over the dimensions.
    assert error(64) / error(1024) == pytest.approx(4, rel=0.2)
