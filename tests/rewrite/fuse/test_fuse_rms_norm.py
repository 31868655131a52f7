"""fuse_rms_norm: every way to write RMSNorm becomes the one operator, and what only looks like it stays."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.analysis.liveness import analyse
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_rms_norm import fuse_rms_norm
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.fold_constants import fold_constants
from l0compile.rewrite.runner import run

RMS = torch.ops.aten.rms_norm.default


class Norm(nn.Module):
    def __init__(self, formula: Callable[[Tensor, Tensor], Tensor], width: int = 6) -> None:
        super().__init__()
        self.formula, self.weight = formula, nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x, self.weight)


def scale(x: Tensor, eps: float = 1e-6) -> Tensor:
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def llama(x: Tensor, w: Tensor) -> Tensor:
    h = x.to(torch.float32)
    return w * (h * scale(h)).to(x.dtype)


def gemma(x: Tensor, w: Tensor) -> Tensor:
    return ((x.float() * scale(x.float())) * (1.0 + w.float())).type_as(x)


FORMS = {
    "llama": llama,
    "gemma": gemma,
    "scale first": lambda x, w: scale(x) * x * w,
    "square": lambda x, w: x * torch.rsqrt(x.square().mean(-1, True) + 1e-5) * w,
    "product": lambda x, w: x * torch.rsqrt((x * x).mean(-1, True) + 1e-5) * w,
    "divided": lambda x, w: x / torch.sqrt(1e-5 + x.pow(2).mean(2, True)) * w,
    "no weight": lambda x, w: x * scale(x),
    "a weight computed": lambda x, w: x * scale(x) * x.sum((0, 1)),
}
OTHERS = {
    "other source": lambda x, w: (x + 1) * scale(x),
    "other axis": lambda x, w: x * torch.rsqrt(x.pow(2).mean(1, True) + 1e-5),
    "two axes": lambda x, w: x * torch.rsqrt(x.pow(2).mean((1, 2), True) + 1e-5),
    "cube": lambda x, w: x * torch.rsqrt(x.abs().pow(3).mean(-1, True) + 1e-5),
    "no eps": lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, True)),
    "computed eps": lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, True) + w.sum()),
    "root, not its inverse": lambda x, w: x * torch.sqrt(x.pow(2).mean(-1, True) + 1e-5),
    "float64": lambda x, w: x.double() * scale(x.double()),
}


def prepared(model: nn.Module, x: Tensor) -> Program:
    return run(capture(model.eval(), (x,)), [canonicalize, fold_constants])


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str, apply_once: Callable[..., Program], count: Callable[..., int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6)
    result = apply_once(prepared(Norm(FORMS[name]), x), fuse_rms_norm, x)
    assert count(result, RMS) == 1
    left = name == "a weight computed"
    assert count(result, torch.ops.aten.mul.Tensor) == left and count(result, torch.ops.aten.mean.dim) == 0


@pytest.mark.parametrize("name", OTHERS)
def test_refusals(name: str) -> None:
    program = prepared(Norm(OTHERS[name]), torch.randn(2, 3, 6))
    assert fuse_rms_norm(program) is program


@settings(max_examples=6)
@given(
    width=st.integers(1, 9),
    batch=st.integers(1, 3),
    size=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 99),
)
def test_any_size(
    width: int,
    batch: int,
    size: float,
    seed: int,
    apply_once: Callable[..., Program],
    count: Callable[..., int],
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(batch, 2, width) * size
    assert count(apply_once(prepared(Norm(llama, width), x), fuse_rms_norm, x), RMS) == 1


def test_zeros_stay_zeros() -> None:
    model = Norm(llama)
    model.weight.data[2] = 0.0
    program = run(
        prepared(nn.Sequential(nn.Linear(6, 6, bias=False), model), torch.randn(2, 3, 6)), [fuse_rms_norm]
    )
    liveness = analyse(program)
    node = program.graph.find_nodes(op="call_function", target=RMS)[0]
    assert liveness.fact(node).last_axis()[0].tolist() == [i == 2 for i in range(6)]
