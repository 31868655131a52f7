"""Block-sparse linear layer on a CUDA GPU, rows layout (oracle: ``l0compile::bsr_linear``)."""

from typing import Any

from torch import fx

from l0compile.errors import BuildError
from l0compile.kernels.cpu.lanes import kernel, local, param, store, symbol
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.definition import KernelCall, KernelDef, given
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

_TOKENS = 32  # tokens a thread block computes: one warp wide


def bsr_linear(spec: LinearSpec, _: TokenTile | None = None) -> Any:
    """PrimFunc(x [M, k], data, indices, indptr, bias, y [M, n]); M and nnz are symbolic.

    One thread block computes ``rows`` outputs of 32 tokens, one thread one output of one token.

    Raises:
        BuildError: the weight is dense, its blocks are ragged or taller than a thread block, or there is an epilogue.
    """
    blocks = spec.n // spec.rows
    plain = not spec.dense and spec.bias and not spec.residual and not spec.activation
    if not plain or spec.n % spec.rows or spec.k % spec.cols or spec.rows * _TOKENS > 1024:
        raise BuildError(
            f"cuda bsr_linear: expected a block-sparse weight with a bias, sizes divisible by the block, no epilogue "
            f"and at most {1024 // _TOKENS} block rows, got {spec}"
        )
    with kernel("bsr_linear") as builder:
        tokens, nnz = symbol("tokens"), symbol("nnz")
        x = param("x", (tokens, spec.k))
        data = param("data", (nnz, spec.cols, spec.rows))
        indices, indptr = param("indices", (nnz,), "int32"), param("indptr", (blocks + 1,), "int32")
        bias, y = param("bias", (spec.n,)), param("y", (tokens, spec.n))
        with (
            TB.launch_thread("blockIdx.x", (tokens + (_TOKENS - 1)) // _TOKENS) as tile,
            TB.launch_thread("blockIdx.y", blocks) as j,
            TB.launch_thread("threadIdx.x", _TOKENS) as lane,
            TB.launch_thread("threadIdx.y", spec.rows) as r,
        ):
            token = tile * _TOKENS + lane
            with TB.If(token < tokens), TB.Then():
                acc = local((1,))
                store(acc, bias[j * spec.rows + r], 0)
                with TB.serial(0, indptr[j + 1] - indptr[j]) as i, TB.serial(0, spec.cols) as c:
                    p = indptr[j] + i
                    store(acc, acc[0] + data[p, c, r] * x[token, indices[p] * spec.cols + c], 0)
                store(y, acc[0], token, j * spec.rows + r)
    return builder.get()


def _call(node: fx.Node) -> KernelCall:
    x, data, indices, indptr, bias, n, k = node.args
    _, cols, rows = data.meta["val"].shape
    spec = LinearSpec(n, k, int(rows), int(cols), False, bias is not None, residual=False, activation="")
    return KernelCall(spec, given(x, data, indices, indptr, bias), rows_in=True, rows_out=True)


BSR_LINEAR = KernelDef(
    name="bsr_linear", calls={"bsr_linear": _call}, spec=LinearSpec, emit=bsr_linear, costs=None, kind="cuda"
)
