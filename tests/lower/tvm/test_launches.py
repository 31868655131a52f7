"""Kernels share a launch; a barrier stands wherever one uses memory that another of the launch wrote, or will write."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from l0compile.frontend.export import capture
from l0compile.hardware._tvm import relax, runtime, te, tirx, topi, tvm
from l0compile.hardware.targets import load_target
from l0compile.ir.program import Program
from l0compile.kernels.token_tile import token_tile
from l0compile.lower.launch_records import parameter_names
from l0compile.lower.translate import translate
from l0compile.lower.tvm.build import build, scheduled
from l0compile.lower.tvm.launches import STEPS
from l0compile.lower.tvm.ordinary import schedule_ordinary
from l0compile.lower.tvm.work_sharing import share_work
from l0compile.rewrite.pipeline import assign_layouts, optimise

TARGET = load_target("native")
TILE = token_tile(TARGET)


def layer(number: int) -> nn.Module:
    linear = nn.Linear(24, 24).requires_grad_(False)
    if number % 3 < 2:
        linear.weight *= (torch.rand(6, 1, 24) < 0.3).expand(-1, 4, -1).reshape(24, 24)
    return nn.Sequential(linear, nn.LayerNorm(24)) if number % 4 == 1 else linear


class Branches(nn.Module):
    """A random graph of layers that read any two earlier results, so that memory is used again in every way."""

    def __init__(self, sources: list[tuple[int, int]]) -> None:
        super().__init__()
        self.sources = sources
        self.layers = nn.ModuleList(layer(i) for i in range(len(sources)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = [x]
        for layer, (left, right) in zip(self.layers, self.sources, strict=True):
            made.append(torch.relu(layer(made[left])) + made[right])
        return made[-1]


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[int, int]]:
    count = draw(st.integers(2, 8))
    return [(draw(st.integers(0, i)), draw(st.integers(0, i))) for i in range(count)]


def lowered(program: Program) -> tuple[Any, tuple[str, ...], Program]:
    packed = assign_layouts(optimise(program, TARGET), lanes=TILE.lanes, rows=TILE.rows)
    translation = translate(packed, TILE)
    return translation.module, parameter_names(packed), packed


@settings(max_examples=5, deadline=None)
@given(sources=graphs(), seed=st.integers(0, 99))
def test_common_launches_change_nothing(sources: list[tuple[int, int]], seed: int) -> None:
    torch.manual_seed(seed)
    model, x = Branches(sources).eval(), torch.randn(1, 200, 24)
    with torch.no_grad():
        expected = model(x)
    module, parameters, packed = lowered(capture(model, (x,), dynamic_shapes={"x": {1: "tokens"}}))
    machine = relax.VirtualMachine(build(module, TARGET, TILE).code.module, tvm.cpu())
    given_ = [runtime.from_dlpack(x), [runtime.from_dlpack(packed.constants[p].detach()) for p in parameters]]
    alone = torch.from_dlpack(machine[STEPS](*given_)[0]).clone()
    torch.testing.assert_close(alone, expected, rtol=1e-5, atol=1e-5)
    for _ in range(20):  # a missing barrier would not show every time
        assert torch.equal(torch.from_dlpack(machine["main"](*given_)[0]), alone)


def test_what_reads_the_same_needs_no_barrier() -> None:
    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.q(x) * self.k(x) * self.v(x)

    module, _, _ = lowered(capture(Three().eval(), (torch.randn(1, 70, 16),)))
    (launch,) = (made for made in scheduled(module, TARGET, TILE).launches if len(made.kernels) > 1)
    # pack | three layers | their product | back to rows
    assert [kernel.waits for kernel in launch.kernels] == [False, True, False, False, True, True]


def scheduled_function(compute: Any) -> Any:
    x = te.placeholder((512, 64), "float32", name="x")
    function = te.create_prim_func([x, compute(x)])
    return schedule_ordinary(tvm.IRModule({"main": function}), TILE)["main"]


def test_shares_are_all_of_a_kernel() -> None:
    shared = share_work(scheduled_function(lambda x: topi.add(x, te.const(1.0, "float32"))))
    assert shared is not None and shared.parallel and shared.writes == {1}
    compiled = tvm.compile(shared.function.with_attr("global_symbol", "main"), target={"kind": "llvm"})
    x, y = torch.randn(512, 64), torch.zeros(512, 64)
    for share in (2, 0, 1):
        compiled["main"](runtime.from_dlpack(x), runtime.from_dlpack(y), share, 3)
    assert torch.equal(y, x + 1)


def test_loops_that_wait_for_one_another_are_left_alone() -> None:
    two = scheduled_function(lambda x: topi.subtract(x, topi.max(x, axis=1, keepdims=True)))
    kinds = [part for part in two.script().splitlines() if "T.parallel" in part]
    assert len(kinds) == 2 and share_work(two) is None


def test_a_kernel_that_may_write_by_address_is_left_alone() -> None:
    def fill(x: Any) -> Any:
        def body(ins: Any, outs: Any) -> Any:
            return tirx.call_extern("int32", "memset", outs[0].access_ptr("w"), 0, 4)

        return te.extern(x.shape, [x], body, dtype="float32")

    x = te.placeholder((8,), "float32", name="x")
    assert share_work(te.create_prim_func([x, fill(x)])) is None


@pytest.mark.parametrize("tokens", [1, 3, 64, 129])
def test_few_tokens(tokens: int) -> None:
    """WorkShared may be empty."""
    torch.manual_seed(0)
    model = Branches([(0, 0), (1, 0), (2, 1)]).eval()
    x = torch.randn(1, tokens, 24)
    module, parameters, packed = lowered(capture(model, (x,)))
    machine = relax.VirtualMachine(build(module, TARGET, TILE).code.module, tvm.cpu())
    weights = [runtime.from_dlpack(packed.constants[p].detach()) for p in parameters]
    result = torch.from_dlpack(machine["main"](runtime.from_dlpack(x), weights)[0])
    with torch.no_grad():
        torch.testing.assert_close(result, model(x), rtol=1e-5, atol=1e-5)
