"""Weights are split so that 16 bits hold sums of two products, and what is computed stays the same integers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn

import l0compile as l0
from l0compile.frontend.export import capture
from l0compile.hardware.targets import load_target
from l0compile.ir.nodes import arguments
from l0compile.ir.program import Program
from l0compile.rewrite.layout.split_words import split_words
from l0compile.rewrite.pipeline import assign_layouts, optimise
from l0compile.rewrite.runner import apply

LINEAR = torch.ops.l0compile.packed_int8_linear.default
CONV = torch.ops.l0compile.packed_int8_conv2d.default
AVX2 = load_target("x86-64-avx2")


def packed(model: nn.Module, x: torch.Tensor) -> Program:
    quantized = l0.quantize(model.eval(), [x])
    return assign_layouts(optimise(capture(quantized, (x,)), AVX2), lanes=16, rows=4)


def layers(program: Program, target: object) -> list[fx.Node]:
    return [node for node in program.graph.nodes if node.target is target]


def weights(program: Program, node: fx.Node) -> torch.Tensor:
    """The weights of each block, [blocks, words, rows, 4]."""
    data = program.constants[str(arguments(node)["data"].target)]
    return data.view(torch.int8).reshape(*data.shape, 4)


def fits(found: torch.Tensor) -> bool:
    """Whether 16 bits hold the sum of both products of neighbours, whatever is multiplied."""
    pairs = found.int().reshape(-1, 2)
    high, low = pairs.clamp(min=0).sum(1).amax(), pairs.clamp(max=0).sum(1).amin()
    return bool(255 * high < 2**15 and 255 * low >= -(2**15))


def check(program: Program, x: torch.Tensor, target: object) -> tuple[Program, list[fx.Node]]:
    """Split, and compare results; what came of it, and the layers that fit."""
    result = apply(program, split_words)
    found = [node for node in layers(result, target) if arguments(node)["fits16"]]
    assert all(fits(weights(result, node)) for node in found)
    assert torch.equal(result.run(x), program.run(x))
    return result, found


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 40), k=st.integers(1, 40), block=st.sampled_from([(4, 4), (1, 4), (8, 8), (16, 16)]),
    density=st.sampled_from([0.3, 1.0]), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_layers_give_the_same(n: int, k: int, block: tuple[int, int], density: float, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = nn.Linear(k, n), torch.randn(9, k)
    kept = (torch.rand(-(-n // block[0]), -(-k // block[1])) < density).float()
    mask = torch.kron(kept, torch.ones(block))[:n, :k]
    # Of normal numbers few are large, and of their cubes almost none.
    model.weight = nn.Parameter(torch.randn(n, k) ** 3 * mask)
    assert check(packed(model, x), x, LINEAR)[1] or n * k < 200 or density < 1.0


def test_what_does_not_fit_is_stored_in_one_more_block() -> None:
    model, x = nn.Linear(16, 16, bias=False), torch.randn(5, 16)
    weight = torch.zeros(16, 16)
    weight[:, 1::4] = 127.0
    weight[3, 4:6] = 127.0
    model.weight = nn.Parameter(weight)
    result, (node,) = check(packed(model, x), x, LINEAR)
    indices = result.constants[str(arguments(node)["indices"].target)].tolist()
    assert indices == [0, 1, 1, 2, 3, *[0, 1, 2, 3] * 3]
    first, second = weights(result, node)[1:3, 0, 3, :2].tolist()
    assert sum(first) == 128 and 0 in second and sum(second) > 0


def test_a_weight_of_large_numbers_stays_whole() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(32, 32), torch.randn(5, 32)  # uniform, as PyTorch makes them
    program = packed(model, x)
    assert split_words(program) is program


@pytest.mark.parametrize("density", [0.2, 1.0])
def test_convolutions_give_the_same(density: float) -> None:
    torch.manual_seed(0)
    model, x = nn.Conv2d(8, 12, 3, padding=1), torch.randn(2, 8, 6, 6)
    kept = (torch.rand(3, 2, 3, 3) < density).float().repeat_interleave(4, 0).repeat_interleave(4, 1)
    model.weight = nn.Parameter(torch.randn(12, 8, 3, 3) ** 5 * kept)
    assert len(check(packed(model, x), x, CONV)[1]) == 1


def test_compiled_for_this_machine_it_gives_the_integers_of_its_oracle() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48)), torch.randn(37, 64)
    with torch.no_grad():
        model[0].weight.normal_()
        model[2].weight.normal_()
    quantized = l0.quantize(model.eval(), [x])
    torch.testing.assert_close(
        l0.compile(quantized, (x,), engine="tvm")(x), quantized(x), rtol=1e-5, atol=1e-5
    )
