"""Prices of kernels, and the line from prices to latencies."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.gates import Block, Budget, Neuron, attach
from l0compile.hardware.costs import (
    CostKey,
    CostPlace,
    CostRecord,
    Costs,
    KernelWorkload,
    Machine,
    shipped_records,
)
from l0compile.hardware.targets import load_target
from l0compile.kernels.costs import counted_kernels
from l0compile.studies.pruning.level import Numbers
from l0compile.studies.pruning.prices import LatencyLine, LinearCall, Prices, gate_prices, linear_calls

AVX2 = load_target("x86-64-avx2")
SITE = LinearCall((384, 1536), 128)
SITE_UP = LinearCall((1536, 384), 128)
PRECISIONS: tuple[Numbers, ...] = ("float32", "bfloat16", "int8")
PRICES = st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6)


@given(PRICES, st.floats(0.0, 2.0), st.floats(0.1, 10.0))
def test_a_line_of_the_usual_slope_is_found_from_any_points(
    prices: list[float], rest: float, near: float
) -> None:
    line = LatencyLine.through([(price, 1.15 * price + rest) for price in prices], near)
    assert (line.slope, line.rest) == (pytest.approx(1.15), pytest.approx(rest, abs=1e-6))


@given(st.floats(0.85, 1.7), st.floats(0.3, 1.0), st.floats(0.25, 0.9))
def test_an_exact_line_is_found_where_it_is_needed(slope: float, rest: float, wanted: float) -> None:
    # The points that fitting measures: the dense model, and a few close to what is wanted.
    points = [(price, slope * price + rest) for price in (1.0, 0.8 * wanted, 0.9 * wanted, wanted)]
    line = LatencyLine.through(points, points[-1][1])
    for price in (0.85 * wanted, 0.95 * wanted, wanted):
        assert line.ms(price) == pytest.approx(slope * price + rest, rel=0.03)
    assert abs(line.slope - slope) <= abs(1.15 - slope) + 1e-9


@given(
    st.lists(st.tuples(st.floats(0.01, 10.0), st.floats(0.01, 10.0)), min_size=1, max_size=5),
    st.floats(0.05, 20.0),
)
def test_lines_rise_and_have_an_inverse(points: list[tuple[float, float]], near: float) -> None:
    line = LatencyLine.through(points, near)
    assert 0.8 <= line.slope <= 1.8 and line.rest >= 0.0
    assert line.ms(2.0) > line.ms(1.0) > line.ms(0.0) >= 0.0
    assert line.price(line.ms(0.7)) == pytest.approx(0.7)


@given(st.floats(0.1, 1.0), st.floats(0.0, 2.0))
def test_a_line_goes_through_a_point_that_is_alone(price: float, rest: float) -> None:
    ms = 1.15 * price + rest
    assert LatencyLine.through([(price, ms)], ms).ms(price) == pytest.approx(ms)
    # And what is quicker than it should be is no reason for a time below 0.
    assert LatencyLine.through([(price, 0.9 * price)], price).rest == 0.0


@given(st.sampled_from(AVX2.blocks), st.floats(0.001, 1.0))
def test_without_records_prices_are_those_of_the_efficiency_table(
    block: tuple[int, int], density: float
) -> None:
    prices = Prices(AVX2, None)
    dense = prices.ms(SITE, None, 1.0)
    wanted = min(1.0, density / AVX2.block_efficiency(*block))
    assert prices.ms(SITE, block, density) == pytest.approx(wanted * dense)
    assert prices.ms(LinearCall((384, 1536), 64), block, density) == pytest.approx(wanted * dense / 2)
    assert prices.ms(SITE, block, 0.0) == 0.0 < dense


def test_a_block_without_a_kernel_is_as_slow_as_dense() -> None:
    bare = dataclasses.replace(AVX2, efficiency=(), blocks=())
    assert Prices(bare, None).ms(SITE, (4, 1), 0.1) == Prices(bare, None).ms(SITE, None, 1.0)


def test_what_was_measured_is_what_it_costs() -> None:
    records = [r for r in shipped_records() if r.key.work.op == "linear" and r.key.place.threads == 2]
    device = records[0].key.place.device
    costs = Costs(
        [r for r in records if r.key.place.device == device],
        Machine(2, 16, 4, 1 << 20),
        counted_kernels(AVX2.core),
    )
    prices = Prices(AVX2, costs)
    for density in (0.05, 0.1, 0.5):
        found = costs.estimate(KernelWorkload("linear", SITE.shape, (4, 1), density, SITE.tokens))
        assert found is not None
        assert prices.ms(SITE, (4, 1), density) == min(found.ms, prices.ms(SITE, None, 1.0))
    assert prices.ms(SITE, (4, 1), 0.05) < 0.5 * prices.ms(SITE, None, 1.0)


def test_prices_of_this_machine_come_from_the_table_where_costs_are_off() -> None:
    assert Prices.of(AVX2) == Prices(AVX2, None)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.flat, self.unused = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.flat(input=self.wide(x).sum(1))
        return output


def test_sites_are_the_shapes_and_tokens_of_a_call() -> None:
    model = Two()
    found = linear_calls(model, ("wide", "flat", "unused"), (torch.ones(2, 7, 3),))
    assert found == {"wide": LinearCall((5, 3), 14, 7), "flat": LinearCall((2, 5), 2, 2)}
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_prices_of_the_gated_layers_of_a_model() -> None:
    model = attach(
        nn.Sequential(nn.Linear(384, 1536), nn.ReLU(), nn.Linear(1536, 384)),
        {"0": Block(4, 1), "2": Neuron()},
    )
    found = gate_prices(model, (torch.randn(128, 384),), AVX2)
    prices = Prices(AVX2, None)
    assert found["0"][0] == (0.0, 0.0)
    assert dict(found["0"])[0.5] == pytest.approx(Prices.of(AVX2).ms(SITE_UP, (4, 1), 0.5))
    # Whole neurons go: what is left is a smaller dense layer.
    assert found["2"] == [(0.0, 0.0), (1.0, pytest.approx(prices.ms(SITE, None, 1.0)))]
    budget = Budget.within(model, 0.5 * (found["0"][-1][1] + found["2"][-1][1]), 10, cost=found)
    assert budget.goal == pytest.approx(0.5)


def test_a_layer_that_the_example_does_not_reach_takes_nothing() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    found = gate_prices(attach(Branch(), {"*used": Block(2, 2)}), (torch.randn(1, 4),), AVX2)
    assert found["unused"] == [(0.0, 0.0), (1.0, 0.0)] and found["used"][-1][1] > 0.0


@pytest.mark.parametrize(("precision", "each"), [("bfloat16", 2), ("int8", 4)])
def test_narrow_numbers_take_as_long_as_so_many_words(precision: Numbers, each: int) -> None:
    prices, words = Prices(AVX2, None), LinearCall((384, 1536 // each), 128)
    assert prices.ms(SITE, None, 1.0, precision) == prices.ms(words, None, 1.0)
    for rows, cols in ((4, 1), (2, 1), (8, 1)):
        found = prices.ms(SITE, (rows, each * cols), 0.3, precision)
        assert found == prices.ms(words, (rows, cols), 0.3) < prices.ms(SITE, (rows, each * cols), 0.3)
    # Single columns are no words: nothing is saved.
    assert prices.ms(SITE, (4, 1), 0.3, precision) == prices.ms(SITE, None, 1.0, precision)


def test_a_measured_kernel_of_narrow_numbers_is_what_it_costs() -> None:
    work = KernelWorkload("linear", SITE.shape, tokens=SITE.tokens, dtype="int8")
    (kernel,) = (kernel for kernel in counted_kernels(AVX2.core) if kernel.op == "linear")
    key = CostKey(work, CostPlace("here", 1, kernel.versions))
    costs = Costs([CostRecord(key, (), 0.0625)], Machine(1, 16, 4, 1 << 20), [kernel])
    assert Prices(AVX2, costs).ms(SITE, None, 1.0, "int8") == 0.0625


def test_a_gpu_has_prices_for_integers_and_they_are_the_lowest() -> None:
    prices, call = Prices.of(load_target("cuda-sm80")), LinearCall((4096, 4096), 2048)
    for block, density in ((None, 1.0), ((64, 64), 0.2)):
        ms = {numbers: prices.ms(call, block, density, numbers) for numbers in PRECISIONS}
        assert 0.0 < ms["int8"] < ms["bfloat16"] < 0.3 * ms["float32"]
