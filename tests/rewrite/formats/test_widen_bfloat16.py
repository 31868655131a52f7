"""Models in bfloat16 on a CPU: products of bfloat16 numbers, and roundings where PyTorch has them."""

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.frontend.export import capture
from l0compile.hardware.targets import load_target
from l0compile.ir.nodes import arguments
from l0compile.ir.program import Program
from l0compile.rewrite.pipeline import optimise

ops, aten = torch.ops.l0compile, torch.ops.aten
ZEN4 = replace(load_target("x86-64-avx512"), dot_products=("avx512vnni", "avx512bf16"))
PLAIN = replace(ZEN4, dot_products=())
_ROUNDS, _MULTIPLIES = ops.round_bfloat16.default, ops.bfloat16_linear.default


class Block(nn.Module):
    """What a transformer's layer has, beside things that stay in bfloat16 (a running sum) and some that are whole."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(10, 16), nn.LayerNorm(16)
        self.qkv, self.up, self.down = nn.Linear(16, 48), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.table(ids))
        heads = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        x = x + F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(-2)
        x = x + self.down(F.gelu(self.up(x)) * 0.7)
        return x.cumsum(1), (x > 0.1).sum(-1)


def narrowed(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().bfloat16()


def calls(program: Program) -> Counter[Any]:
    return Counter(node.target for node in program.graph.nodes if node.op == "call_function")


def apart(found: Tensor, wanted: Tensor) -> float:
    found, wanted = found.detach().float(), wanted.detach().float()
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("target", [ZEN4, PLAIN], ids=["products", "none"])
def test_values_are_wide_and_rounded(target: Any) -> None:
    torch.manual_seed(0)
    model, ids = narrowed(Block()), torch.randint(0, 10, (2, 5))
    program = optimise(capture(model, (ids,)), target)
    found, narrow = calls(program), target is ZEN4
    assert found[_MULTIPLIES] == (5 if narrow else 0)  # query, key and value are three layers by then
    assert found[aten.linear.default] == (0 if narrow else 5)
    attention = [node for node in program.graph.nodes if node.target is ops.attention.default]
    assert [arguments(node)["numbers"] for node in attention] == (["bfloat16"] if narrow else ["float32"])
    regions = {region.precision for region in program.regions}
    assert regions == ({"bfloat16"} if narrow else {"float32"})
    assert all(("no instruction" in region.reason) is not narrow for region in program.regions)
    for found_value, wanted in zip(program.run(ids), model(ids), strict=True):
        assert found_value.dtype == wanted.dtype and apart(found_value, wanted) < 0.02


def test_sizes_that_vary() -> None:
    torch.manual_seed(0)
    model, ids = narrowed(Block()), torch.randint(0, 10, (2, 5))
    program = optimise(capture(model, (ids,), dynamic_shapes={0: "batch", 1: "tokens"}), ZEN4)
    assert calls(program)[_MULTIPLIES] == 5
    for other in (ids, torch.randint(0, 10, (3, 9))):
        for found_value, wanted in zip(program.run(other), model(other), strict=True):
            assert found_value.dtype == wanted.dtype and apart(found_value, wanted) < 0.02


def test_what_is_not_in_bfloat16_stays_the_same_program() -> None:
    program = optimise(capture(nn.Linear(8, 8).eval(), (torch.randn(2, 8),)), ZEN4)
    assert "widen_bfloat16" not in {record.name for record in program.history}


@settings(max_examples=20)
@given(st.integers(1, 70), st.integers(1, 20), st.integers(0, 2**16))
def test_a_sum_is_within_its_bound(k: int, n: int, seed: int) -> None:
    """|y - exact| <= k 2^-23 S + 2^-8 |y|: the order of adding, then one rounding to bfloat16."""
    torch.manual_seed(seed)
    model, x = narrowed(nn.Linear(k, n)), torch.randn(3, k).bfloat16()
    y = optimise(capture(model, (x,)), ZEN4).run(x).double()
    factors, bias = model.weight.double(), model.bias.double()
    exact, size = x.double() @ factors.T + bias, x.double().abs() @ factors.abs().T + bias.abs()
    bound = (k + 1) * 2.0**-23 * size
    assert bool(((y - exact).abs() <= bound + 2.0**-8 * (exact.abs() + bound)).all())


class Residual(nn.Module):
    """Layers of small whole numbers, whose sums are exact in any order: only roundings are left to differ in."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(32, 48), nn.Linear(48, 32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu()) + x
        return self.third(y.clamp(-300.0, 300.0)) * 0.3


@pytest.mark.parametrize("autocast", [False, True])
def test_compiled_roundings_are_those_of_pytorch(autocast: bool) -> None:
    torch.manual_seed(0)
    model = Residual().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape))
    x = torch.randint(-8, 9, (70, 32)).float()
    model = Autocast(model).eval() if autocast else model.bfloat16()
    x = x if autocast else x.bfloat16()
    compiled = l0.compile(model, (x,), engine="tvm")
    with torch.no_grad():
        wanted = model(x)
    assert torch.equal(compiled(x), wanted) and bool((wanted != wanted.round()).any())
    explanation = compiled.explain()
    assert not explanation.islands
    # The first layer rounds, applies its ReLU and writes the words that the second one reads.
    assert sum(launch.function.startswith("narrow") for launch in explanation.launches) <= 2


class Autocast(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x)


def test_zeros_of_a_bfloat16_model_become_blocks() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)).eval()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            kept = (torch.rand(16, 32) < 0.2).repeat_interleave(4, 0).repeat_interleave(2, 1)
            layer.weight *= kept
    model, x = model.bfloat16(), torch.randn(40, 64).bfloat16()
    compiled = l0.compile(model, (x,), engine="tvm")
    regions = compiled.explain().regions
    narrow = "avx512bf16" in load_target("native").dot_products
    assert {region.format for region in regions} == {"bsr"}
    assert {region.precision for region in regions} == {"bfloat16" if narrow else "float32"}
    assert apart(compiled(x), model(x)) < 0.02


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_what_a_target_lacks_is_told(precision: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    program = capture(l0.quantize(model, [torch.randn(16, 8)], precision), (torch.randn(2, 8),))
    for target, lacks in ((ZEN4, False), (PLAIN, True)):
        reasons = [region.reason for region in optimise(program, target).regions]
        assert [f"no instruction for products in {precision}" in reason for reason in reasons] == [lacks] * 2
