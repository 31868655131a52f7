"""choose_formats: the predicted time decides, with hysteresis; every region ends with a reason."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from l0compile.hardware.costs import CostKey, CostPlace, CostRecord, Costs, KernelWorkload, Machine
from l0compile.hardware.targets import Core, Target
from l0compile.ir.ops.bsr import from_blocks
from l0compile.ir.program import Program
from l0compile.kernels.costs import counted_kernels
from l0compile.rewrite.formats.format_choice import HYSTERESIS, FormatChoice, Layers, choose, in_words
from l0compile.rewrite.pipeline import optimise

KERNELS = counted_kernels(Core())

bsr = torch.ops.l0compile.bsr_linear.default


def blocks(n: int, k: int, rows: int, cols: int, share: float) -> Tensor:
    torch.manual_seed(0)
    grid = n // rows * (k // cols)
    keep = torch.zeros(grid)
    keep[torch.randperm(grid)[: round(grid * share)]] = 1.0
    mask = keep.reshape(n // rows, k // cols).repeat_interleave(rows, 0).repeat_interleave(cols, 1)
    return (torch.rand(n, k) + 0.5) * mask


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (blocks(64, 32, 4, 1, 0.25), (4, 1)),
        (blocks(64, 32, 1, 1, 0.1), (1, 1)),
        (blocks(64, 32, 4, 1, 0.97), None),
        (blocks(64, 32, 1, 1, 0.6), None),
        (torch.ones(64, 32), None),
        (blocks(64, 32, 4, 1, 0.25).double(), None),
    ],
    ids=["blocks", "scattered", "hysteresis", "too dense", "dense", "double"],
)
def test_choice(weight: Tensor, expected: tuple[int, int] | None, target: Target) -> None:
    choice, reason = choose(weight, target)
    assert choice.block == expected and reason


def test_predicted_time_counts_ragged_blocks_whole(target: Target) -> None:
    choice, _ = choose(torch.ones(5, 8), replace(target, blocks=((4, 1),)))
    assert choice.block is None
    sparse = torch.zeros(5, 8)
    sparse[4, 0] = 1.0
    choice, _ = choose(sparse, replace(target, blocks=((4, 1),)))
    assert choice.time == pytest.approx(4 / 40)


def test_no_kernel_no_format(target: Target) -> None:
    _, reason = choose(torch.zeros(4, 4), replace(target, blocks=()))
    assert "has no block-sparse kernel" in reason


def test_regions_tell_the_whole_story(captured: Callable[..., Program], target: Target) -> None:
    model = nn.Sequential(
        *(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)), nn.Linear(8, 8)
    )
    with torch.no_grad():
        model[0].weight[10:] = model[0].bias[10:] = 0.0
        model[2].weight.copy_(blocks(64, 64, 4, 1, 0.25))
        model[5].weight.zero_()
    program = captured(model, torch.randn(3, 16))
    result = optimise(program, target)
    regions = {region.name: region for region in result.regions}
    assert set(regions) == {"0", "2", "4", "5"}
    assert all(
        regions[name].format == "dropped" and "rules 5 and 6" in regions[name].reason for name in regions
    )
    assert not result.graph.find_nodes(op="call_function", target=bsr)

    with torch.no_grad():
        model[5].weight.normal_()
    result = optimise(captured(model, torch.randn(3, 16)), target)
    first, second, *_ = result.regions
    assert (first.format, first.shape_before, first.shape_after) == ("compact", (64, 16), (10, 16))
    assert first.density == pytest.approx(10 / 64) and "54 of 64 outputs removed" in first.reason
    assert (second.format, second.block) == ("bsr", (4, 1)) and "blocks are left: " in second.reason
    assert result.regions[-1].format == "dense" and "dense: " in result.regions[-1].reason
    again = optimise(result, target)
    assert again.regions == result.regions and str(again.graph) == str(result.graph)


def test_blocks_hold_the_weight(captured: Callable[..., Program], target: Target) -> None:
    model = nn.Linear(32, 64)
    model.weight.data = blocks(64, 32, 4, 1, 0.25)
    result = optimise(captured(model, torch.randn(3, 32)), target)
    (node,) = result.graph.find_nodes(op="call_function", target=bsr)
    data, indices, indptr = (result.constants[str(arg.target)] for arg in node.args[1:4])
    assert torch.equal(from_blocks(data, indices, indptr, 64, 32), model.weight)
    assert "weight" not in result.constants


def known(*times: tuple[tuple[int, int] | None, float, float], shape: tuple[int, int] = (64, 32)) -> Costs:
    """Costs with a record of each (block, density, ms), of layers of 3 tokens."""
    here = CostPlace("cpu", 1, next(kernel.versions for kernel in KERNELS if kernel.op == "linear"))
    return Costs(
        [
            CostRecord(CostKey(KernelWorkload("linear", shape, b, d, 3), here), (), ms, ms, ms)
            for b, d, ms in times
        ],
        Machine(1, 64, 16, 1 << 20),
        KERNELS,
    )


def test_measured_times_go_before_the_table(target: Target) -> None:
    weight = blocks(64, 32, 4, 1, 0.25)
    slow = known(
        (None, 1.0, 1.0), ((4, 1), 0.25, 0.97), ((1, 1), 0.25, 1.2), ((2, 1), 0.25, 1.1), ((4, 4), 0.6, 1.0)
    )
    choice, reason = choose(weight, target, Layers(slow, 3))
    assert choice.block is None and reason == (
        "dense: 25 % of the 4×1 blocks are left, and skipping the rest would save 3 % of its time (measured; 5 % is "
        "the least that counts)"
    )
    choice, reason = choose(weight, target, Layers(known((None, 1.0, 1.0), ((1, 1), 0.25, 0.2)), 3))
    assert choice.block == (1, 1) and reason.endswith("0.20 of the dense time (measured)")
    choice, reason = choose(weight, target, Layers(known((None, 1.0, 1.0), ((4, 1), 0.5, 0.2)), 3))
    assert choice.block == (4, 1) and "of the dense time (predicted)" in reason
    assert choose(weight, target, Layers(known(((4, 1), 0.25, 0.2)), 3)) == choose(weight, target)


@pytest.mark.parametrize(
    ("kept", "time", "words"),
    [
        (1.0, 0.98, "dense: no whole block is zero, of the 4×1 blocks or of others"),
        (1.0, 0.9, "none of the 4×1 blocks is zero, but their kernel is the quicker one here: 0.90 of the dense time"),
        (0.125, 0.15, "12.5 % of the 4×1 blocks are left: 0.15 of the dense time (measured)"),
        (0.7, 1.2, "dense: 70 % of the 4×1 blocks are left, and skipping the rest would take 1.20 times as long"),
    ],
)  # fmt: skip
def test_reasons_say_what_is_left_and_what_it_saves(kept: float, time: float, words: str) -> None:
    choice = FormatChoice((4, 1), kept, time, "measured")
    assert in_words(choice, taken=time <= HYSTERESIS).startswith(words)


def test_a_shape_that_was_never_measured_bears_the_costs_of_those_that_were(target: Target) -> None:
    """By the table 2x1 takes 0.05 / 0.7 of the dense time; a layer of 4x1 blocks that sparse is known to take 0.2."""
    weight = blocks(64, 32, 4, 1, 0.05)
    choice, reason = choose(weight, target, Layers(known((None, 1.0, 1.0), ((4, 1), 0.05, 0.2)), 3))
    assert choice.block == (4, 1) and "0.20 of the dense time (measured)" in reason


def test_regions_remember_the_dense_time(captured: Callable[..., Program], target: Target) -> None:
    model = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8), nn.Linear(8, 8)
    )
    with torch.no_grad():
        model[0].weight[10:] = model[0].bias[10:] = 0.0
    times = [
        (n, k, n * k * 1e-4 + 0.001) for n, k in ((64, 16), (10, 16), (64, 64), (64, 10), (8, 64), (8, 8))
    ]
    here = CostPlace("cpu", 1, next(kernel.versions for kernel in KERNELS if kernel.op == "linear"))
    costs = Costs(
        [
            CostRecord(CostKey(KernelWorkload("linear", (n, k), None, 1.0, 3), here), (), ms, ms, ms)
            for n, k, ms in times
        ],
        Machine(1, 64, 16, 1 << 20),
        KERNELS,
    )
    inputs = torch.randn(3, 16)
    first = next(r for r in optimise(captured(model, inputs), target, costs=costs).regions if r.name == "0")
    assert first.shape_after == (10, 16) and first.dense_ms == pytest.approx(0.1034)
    assert first.predicted == pytest.approx(0.017 / 0.1034)
