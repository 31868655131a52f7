"""Which calls of operators the linear kernel computes."""

import torch
from torch import fx

from l0compile.ir.ops.bsr import heaviest_first, to_blocks
from l0compile.kernels import kernel_call

l0 = torch.ops.l0compile


def node(operator: str, *arguments: object) -> fx.Node:
    graph, given = fx.Graph(), []
    for number, value in enumerate(arguments):
        place = graph.placeholder(f"x{number}") if isinstance(value, torch.Tensor) else value
        if isinstance(place, fx.Node):
            place.meta["val"] = value
        given.append(place)
    return graph.call_function(getattr(l0, operator).default, tuple(given))


def rows(dtype: torch.dtype, block: tuple[int, int], tokens: int = 20, order: bool = False) -> fx.Node:
    x, weight = torch.randn(2, tokens, 24).to(dtype), torch.randn(40, 24).to(dtype)
    blocks, residual = to_blocks(weight, *block), torch.randn(2, tokens, 40).to(dtype)
    first = heaviest_first(blocks[2]) if order else None
    return node("rows_bsr_linear", x, *blocks, first, None, residual, 40, "gelu")


def test_a_sparse_layer_of_rows() -> None:
    made = rows(torch.bfloat16, (16, 8), order=True)
    call = kernel_call(made, "cuda")
    assert call is not None and call.rows_in and call.rows_out and call.residual is made.args[6]
    spec = call.spec
    assert (spec.n, spec.k, spec.rows, spec.cols, spec.dtype) == (40, 24, 16, 8, "bfloat16")
    assert (spec.bias, spec.residual, spec.order, spec.activation, spec.few) == (
        False,
        True,
        True,
        "gelu",
        False,
    )
    assert [str(tensor) for tensor in call.tensors] == ["x0", "x1", "x2", "x3", "x4", "x6"]


def test_few_tokens_are_noticed() -> None:
    assert kernel_call(rows(torch.float16, (16, 8), tokens=8), "cuda").spec.few
    x, weight = torch.randn(64, 24), torch.randn(40, 24)
    for likely in (4, 64):  # the operator tells, whatever the example has
        call = kernel_call(node("dense_linear", x, weight, None, None, likely, ""), "cuda")
        assert call is not None and call.spec.dense and call.spec.few == (likely == 4)


def test_what_it_does_not_compute() -> None:
    assert kernel_call(rows(torch.float64, (16, 8)), "cuda") is None
    assert kernel_call(rows(torch.float32, (8, 8)), "cuda") is None
    assert kernel_call(rows(torch.float32, (16, 8)), "llvm") is None  # CPUs have no residual there
