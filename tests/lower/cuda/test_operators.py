"""Ordinary operators on a GPU: threads by TVM's rules, computed by the emulation, against PyTorch."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import l0compile as l0
from l0compile.errors import BuildError, ConfigError
from l0compile.hardware._tvm import te, tirx, tvm
from l0compile.hardware.targets import load_target
from l0compile.lower.cuda.threads import bind_threads, unbound
from tests.lower.cuda.conftest import for_gpu, gap

pytestmark = pytest.mark.usefixtures("no_nvcc")


def _elementwise(x: Tensor, y: Tensor, ids: Tensor) -> Any:
    picked = F.embedding(ids, y)
    joined = torch.cat([x, x * 2], -1)[:, 1:9]
    kinds = [x.exp(), x.erf(), torch.tanh(x), F.silu(x), F.gelu(x), x.relu(), x.sigmoid(), x.cos()]
    return picked, joined, sum(kinds), torch.where(x > 0, x, y[0, :6]), x.transpose(0, 1).contiguous()


def _reductions(x: Tensor, y: Tensor, ids: Tensor) -> Any:
    scores = x @ y.T
    return (
        torch.softmax(scores, -1), scores.mean(-1), scores.amax(0), x.sum(), F.layer_norm(x.T, (x.shape[0],)),
        (x[None] @ y.T[None].expand(3, -1, -1)), x.argmax(-1), (x * x).sum(1, keepdim=True),
    )  # fmt: skip


@pytest.mark.parametrize("function", [_elementwise, _reductions])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_compute_what_pytorch_does(function: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, y, ids = torch.randn(5, 6).to(dtype), torch.randn(7, 6).to(dtype), torch.tensor([[3, 0, 6], [1, 1, 2]])
    compiled = for_gpu(function, (x, y, ids))
    assert not compiled.explain().islands
    assert gap(compiled.emulated()(x, y, ids), function(x, y, ids)) < (
        1e-5 if dtype == torch.float32 else 2e-2
    )


def test_infinities_and_nan_go_through() -> None:
    x = torch.tensor([[1.0, float("nan"), 2.0, 0.0], [float("inf"), 1.0, float("-inf"), -0.0]])
    compiled = for_gpu(lambda x: (x.amax(-1), x.relu(), torch.isnan(x), x.exp()), (x,))
    wanted = (x.amax(-1), x.relu(), x.isnan(), x.exp())
    for found, expected in zip(compiled.emulated()(x), wanted, strict=True):
        torch.testing.assert_close(found, expected, equal_nan=True)


def test_sizes_may_vary() -> None:
    def function(x: Tensor) -> Any:
        return (
            torch.softmax(x @ x.transpose(1, 2), -1).sum(-1),
            x.flatten(1),
            torch.arange(x.shape[1]) + x[0, :, 0],
        )

    dynamic = {0: "batch", 1: "tokens"}
    compiled = for_gpu(function, (torch.randn(2, 5, 8),), dynamic=((dynamic,),)).emulated()
    for batch, tokens in ((2, 5), (1, 1), (3, 40)):
        x = torch.randn(batch, tokens, 8)
        assert gap(compiled(x), function(x)) < 1e-5


def test_results_that_no_kernel_makes_are_copies() -> None:
    x = torch.randn(2, 6)
    found = for_gpu(lambda x: (x, x.reshape(3, 4), y := x + 1, y.reshape(12)), (x,)).emulated()(x)
    assert gap(found, (x, x.reshape(3, 4), x + 1, (x + 1).reshape(12))) < 1e-6
    assert len({tensor.data_ptr() for tensor in (x, *found)}) == 5


def test_what_has_no_rule_is_an_error_with_its_name() -> None:
    x = torch.randn(4, 6)
    with pytest.raises(BuildError, match=r"cumsum.*threads of a GPU"):
        for_gpu(lambda x: x.cumsum(-1) + 1, (x,))


def test_what_would_be_an_island_is_an_error() -> None:
    x = torch.randn(4, 6)
    with pytest.raises(BuildError, match="no parts in PyTorch"):
        for_gpu(lambda x: x[x[:, 0] > 0].sum(0), (x,))


def test_bound_functions_are_told_from_others() -> None:
    x = te.placeholder((64,), "float32", "x")
    plain = te.create_prim_func([x, te.compute((64,), lambda i: x[i] + 1.0, "y")])
    assert unbound(plain)
    module = bind_threads(tvm.IRModule({"add_one": plain}), load_target("cuda-sm90"))
    assert isinstance(module["add_one"], tirx.PrimFunc) and not unbound(module["add_one"])


def test_the_engine_of_this_machines_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="'auto' or 'tvm' for target cuda-sm80"):
        l0.compile(torch.nn.Linear(4, 4), (torch.randn(1, 4),), target="cuda-sm80", engine="torch")
