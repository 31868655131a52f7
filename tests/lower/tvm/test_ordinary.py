"""The rule for ordinary operators: same numbers as before, in vectors, whatever the mix of axes."""

import pytest
import torch

from l0compile.hardware._tvm import runtime, te, topi, tvm, tvm_target
from l0compile.hardware.targets import load_target
from l0compile.kernels.cpu.lanes import SCHEDULED
from l0compile.kernels.token_tile import token_tile
from l0compile.lower.tvm.ordinary import schedule_ordinary


def column_sum(a):  # type: ignore[no-untyped-def]
    return topi.sum(topi.multiply(a, a), axis=1)


def row_sum(a):  # type: ignore[no-untyped-def]
    return topi.sum(a, axis=-1, keepdims=True)


def all_but_the_first(a):  # type: ignore[no-untyped-def]
    return topi.sum(a, axis=(1, 2))


def largest(a):  # type: ignore[no-untyped-def]
    return topi.max(a, axis=-1)


def everything(a):  # type: ignore[no-untyped-def]
    return topi.sum(a)


def no_sum(a):  # type: ignore[no-untyped-def]
    return topi.multiply(topi.add(a, a), a)


def chain(a):  # type: ignore[no-untyped-def]
    return topi.divide(
        topi.add(a, a), topi.add(topi.sum(a, axis=-1, keepdims=True), te.const(100.0, "float32"))
    )


REFERENCES = {
    no_sum: lambda a: (a + a) * a,
    column_sum: lambda a: (a * a).sum(1),
    row_sum: lambda a: a.sum(-1, keepdim=True),
    all_but_the_first: lambda a: a.sum((1, 2)),
    largest: lambda a: a.amax(-1),
    everything: lambda a: a.sum(),
    chain: lambda a: (a + a) / (a.sum(-1, keepdim=True) + 100),
}


@pytest.mark.parametrize("width", [48, 50])
@pytest.mark.parametrize("compute", REFERENCES)
def test_same_numbers(compute, width: int) -> None:  # type: ignore[no-untyped-def]
    target = load_target("native")
    a = te.placeholder((6, 70, width), "float32", name="a")
    function = te.create_prim_func([a, compute(a)]).with_attr("global_symbol", "main")
    module = schedule_ordinary(tvm.IRModule({"main": function}), token_tile(target))
    assert module["main"].attrs[SCHEDULED]
    x = torch.randn(6, 70, width)
    expected = REFERENCES[compute](x)
    y = torch.empty_like(expected)
    tvm.compile(module, target=tvm_target(target))["main"](runtime.from_dlpack(x), runtime.from_dlpack(y))
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-3)
