"""The definitions of linear kernels on rows."""

from math import prod

from torch import fx

from l0compile.ir.nodes import shape
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.cpu.rows.dense import rows_linear
from l0compile.kernels.cpu.rows.sparse import rows_bsr_linear
from l0compile.kernels.cpu.rows.spec import RowsBsrSpec, RowsLinearSpec
from l0compile.kernels.definition import KernelCall, KernelDef, given


def _dense_call(node: fx.Node) -> KernelCall:
    x, data, bias, n, activation = node.args
    k, rows = int(x.meta["val"].shape[-1]), int(data.meta["val"].shape[2])
    spec = RowsLinearSpec(n, k, rows, bias is not None, activation, _tokens(x))
    return KernelCall(spec, given(x, data, bias), rows_in=True, rows_out=True)


def _sparse_call(node: fx.Node) -> KernelCall | None:
    x, data, indices, indptr, _, bias, residual, n, activation = (
        node.args
    )  # threads share rows in their own way
    if residual is not None:
        return None
    k, (_, cols, rows) = int(x.meta["val"].shape[-1]), data.meta["val"].shape
    layer = LinearSpec(n, k, int(rows), int(cols), False, bias is not None, False, activation)
    return KernelCall(
        RowsBsrSpec(layer, _tokens(x)), given(x, data, indices, indptr, bias), rows_in=True, rows_out=True
    )


def _tokens(x: fx.Node) -> int | None:
    """How many tokens there are in rows, where that is known."""
    sizes = shape(x)[:-1]
    return prod(map(int, sizes)) if all(isinstance(size, int) for size in sizes) else None


ROWS_LINEAR = KernelDef(
    name="rows_linear",
    calls={"rows_linear": _dense_call},
    spec=RowsLinearSpec,
    emit=rows_linear,
    costs=None,
    light=True,
)
ROWS_BSR = KernelDef(
    name="rows_bsr_linear",
    calls={"rows_bsr_linear": _sparse_call},
    spec=RowsBsrSpec,
    emit=rows_bsr_linear,
    costs=None,
    light=True,
)
