"""The pass that gives layers of 8-bit integers the operators of a GPU's kernels."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.hardware.targets import load_target
from l0compile.ir.ops.words import word_blocks
from l0compile.ir.program import Program
from l0compile.kernels.costs import costs_of
from l0compile.rewrite.pipeline import assign_gpu_layouts, choose

l0 = torch.ops.l0compile


class Integers(nn.Module):
    """Some layers of integers for a formula of them and of the input."""

    def __init__(self, formula: Callable[[Any, Tensor], Any], width: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.formula = formula
        self.register_buffer("weight", torch.randint(-127, 128, (width, width)).to(torch.int8))
        self.register_buffer("kernel", torch.randint(-127, 128, (8, 3, 2, 2)).to(torch.int8))
        self.register_buffer("scale", torch.rand(width) / 1000)
        self.register_buffer("bias", torch.randn(width))
        self.register_buffer("inverse", torch.rand(width) * 50)
        self.register_buffer("one", torch.tensor([40.0]))
        self.register_buffer("of_images", torch.rand(3, 1, 1) * 50)
        self.register_buffer("eight", torch.rand(8) / 100)
        self.register_buffer("pixel", torch.randint(-127, 128, (8, 3, 1, 1)).to(torch.int8))
        for cols in (16, 4):
            kept = torch.rand(width // 16, width // cols) < 0.5
            weight = self.weight * kept.repeat_interleave(16, 0).repeat_interleave(cols, 1)
            for name, part in zip(("data", "indices", "indptr"), word_blocks(weight, 16, cols), strict=True):
                self.register_buffer(f"{name}{cols}", part)

    def q(self, x: Tensor) -> Any:
        return l0.quantize(x, self.inverse, 9)

    def dense(self, q: Tensor, zero_point: int = 9) -> Any:
        return l0.int8_linear(q, self.weight, self.scale, self.bias, zero_point)

    def sparse(self, q: Tensor, cols: int) -> Any:
        parts = [getattr(self, f"{name}{cols}") for name in ("data", "indices", "indptr")]
        return l0.int8_bsr_linear(q, *parts, self.scale, None, 9, 32, 32)

    def patches(self, x: Tensor, step: int, kernel: Tensor) -> Any:
        q = l0.quantize(x.reshape(1, -1, 4, 8), self.of_images, 9)
        return l0.int8_conv2d(q, kernel, self.eight, None, 9, [step] * 2, [0, 0], [1, 1])

    def forward(self, x: Tensor) -> Any:
        return self.formula(self, x)


def names(program: Program) -> list[str]:
    own = [node for node in program.graph.nodes if "l0compile" in str(node.target)]
    return [str(node.target).split(".")[1] for node in own]


def laid_out(model: nn.Module, x: Tensor) -> Program:
    return assign_gpu_layouts(capture(model.eval(), (x,)), lambda node: True)


LINEAR = "rows_int8_linear"
FORMULAS: dict[str, tuple[Callable[[Any, Tensor], Any], list[str]]] = {
    "activation, residual": (lambda m, x: x + F.relu(m.dense(m.q(x))), ["rows_quantize", LINEAR]),
    "readers share words": (
        lambda m, x: m.dense(q := m.q(x)) * m.dense(q, 7),
        ["rows_quantize", LINEAR, LINEAR],
    ),
    "one scale": (lambda m, x: m.dense(l0.quantize(x, m.one, 9)), ["rows_quantize", LINEAR]),
    "results are rounded": (
        lambda m, x: m.dense(m.q(F.relu(m.dense(m.q(x))))),
        ["rows_quantize", LINEAR, LINEAR],
    ),
    "others read what is rounded": (
        lambda m, x: (y := m.dense(m.q(x)), m.dense(m.q(y))),
        ["rows_quantize", LINEAR, "rows_quantize", LINEAR],
    ),
    "blocks": (lambda m, x: m.sparse(m.q(x), 16), ["rows_quantize", LINEAR]),
    "narrow blocks become dense": (lambda m, x: m.sparse(m.q(x), 4), ["rows_quantize", LINEAR]),
    "patches": (lambda m, x: m.patches(x, 2, m.kernel), ["rows_quantize", LINEAR]),
    "windows that overlap": (lambda m, x: m.patches(x, 1, m.kernel), ["quantize", "int8_conv2d"]),
    "pixels": (lambda m, x: m.patches(x, 1, m.pixel), ["rows_quantize", LINEAR]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_layers_become_operators_of_kernels_and_compute_the_same(name: str) -> None:
    (formula, expected), x = FORMULAS[name], torch.randn(3, 32)
    model = Integers(formula)
    program = laid_out(model, x)
    assert names(program) == expected
    found, wanted = program.run(x), model(x)
    for one, other in zip(*((v if isinstance(v, tuple) else (v,)) for v in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_sums_that_32_bits_might_not_hold_are_left() -> None:
    model = Integers(lambda m, x: l0.int8_linear(l0.quantize(x, m.one, 9), m.wide, m.scale[:1], None, 9))
    model.register_buffer("wide", torch.full((1, 70_000), 127, dtype=torch.int8))
    assert names(laid_out(model, torch.randn(2, 70_000))) == ["quantize", "int8_linear"]


def test_blocks_of_a_gpu_keep_their_shape() -> None:
    """Those of a CPU become four times as wide, where a kernel has words for numbers."""
    weight = torch.zeros(1024, 1024, dtype=torch.int8)
    weight[:128, :128] = 1
    model = Integers(lambda m, x: l0.int8_linear(l0.quantize(x, m.one, 9), m.large, m.ones, None, 9))
    model.register_buffer("large", weight)
    model.register_buffer("ones", torch.ones(1024))
    target = load_target("cuda-sm80")
    program = choose(capture(model.eval(), (torch.randn(8192, 1024),)), target, costs_of(target))
    (region,) = program.regions
    assert region.precision == "int8" and region.format == "bsr" and region.block in target.blocks
    assert LINEAR in names(assign_gpu_layouts(program, lambda node: True))
