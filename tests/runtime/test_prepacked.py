"""Every activation of our tables, on every path to packed weights, gives what the operator's definition gives."""

import itertools
from typing import Any

import pytest
import torch

from l0compile.ir.instructions import Code, Instruction, Slot
from l0compile.ir.ops.activation import ACTIVATIONS as DEFINITIONS
from l0compile.ir.ops.activation import PLAIN
from l0compile.ir.ops.dense import AFTER_SUM, dense_convolution, dense_linear
from l0compile.runtime.torch_stage import TorchStage

KINDS = ("linear", "conv1d", "conv2d", "grouped", "depthwise")


def operands(kind: str) -> tuple[str, Any, torch.Tensor, tuple[Any, ...], torch.Tensor]:
    """Name and definition of an operator, weight, what comes after its residual, and x."""
    if kind == "linear":
        return (
            "l0compile.dense_linear.default",
            dense_linear,
            torch.randn(32, 24),
            (40,),
            torch.randn(2, 20, 24),
        )
    groups = {"grouped": 2, "depthwise": 8}.get(kind, 1)
    axes = 1 if kind == "conv1d" else 2
    x = torch.randn(2, 8, *(9, 11)[:axes])
    weight = torch.randn(8, 8 // groups, *(3, 3)[:axes])
    steps = tuple((value,) * axes for value in (1, 2, 2))  # stride, padding, dilation: the size is kept
    return (
        "l0compile.dense_convolution.default",
        dense_convolution,
        weight,
        (*steps, groups, tuple(x.shape)),
        x,
    )


@pytest.mark.parametrize(("kind", "activation", "added"), [*itertools.product(KINDS, PLAIN, (False, True))])
def test_packed_layers(kind: str, activation: str, added: bool) -> None:
    torch.manual_seed(0)
    target, definition, weight, rest, x = operands(kind)
    bias, result = torch.randn(weight.shape[0]), x.shape if kind != "linear" else (2, 20, 32)
    other = torch.randn(result).transpose(0, 1).contiguous().transpose(0, 1)  # of other strides
    args = (x, weight, bias, other if added else None, *rest, activation)
    wanted = definition(*args)
    slots = (Slot(0), Slot(2), Slot(3), Slot(1) if added else None)
    code = Code(2, ("w", "b"), (Instruction(target, (*slots, *rest, activation), {}, 4, ()),), (Slot(4),))
    stage = TorchStage(code, {"w": weight, "b": bias})
    torch.testing.assert_close(stage([x, other])[0], wanted, rtol=2e-5, atol=2e-5)
    fused = activation in (("",) if kind == "linear" else AFTER_SUM) if added else True
    assert bool(stage._packed.kernels) == fused


def test_an_activation_that_onednn_lacks_runs_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFINITIONS, "softplus", torch.nn.functional.softplus)  # of ours, oneDNN has all
    target, definition, weight, rest, x = operands("conv2d")
    code = Code(
        1,
        ("w",),
        (Instruction(target, (Slot(0), Slot(1), None, None, *rest, "softplus"), {}, 2, ()),),
        (Slot(2),),
    )
    stage = TorchStage(code, {"w": weight})
    assert not stage._packed.kernels
    torch.testing.assert_close(stage([x])[0], definition(x, weight, None, None, *rest, "softplus"))
