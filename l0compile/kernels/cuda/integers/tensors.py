"""The tensors of a linear kernel of 8-bit integers."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, param, symbol
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.linear.tensors import CudaLinearTensors


@dataclass(frozen=True)
class IntegerTensors:
    """Those that a layer of any numbers has, and in between: None where this spec has none."""

    linear: CudaLinearTensors  # of words; data [nnz, chunks, rows, 4]
    start: Any  # [n] int32
    scale: Any  # [n]
    inverse: Any  # [n]

    @property
    def tokens(self) -> Expr:
        return self.linear.tokens


def integer_tensors(spec: CudaIntegerLinearSpec) -> IntegerTensors:
    """Declare the parameters of a kernel, in their order."""
    tokens, nnz = symbol("tokens"), symbol("nnz")
    n, sparse, block_rows = spec.n, not spec.dense, 0 if spec.dense else -(-spec.n // spec.rows)
    weight = (nnz, spec.chunks, spec.rows, 4) if sparse else (n, spec.words)
    x = param("x", (tokens, spec.words), "int32")
    data = param("data", weight, "int32")
    indices = param("indices", (nnz,), "int32") if sparse else None
    indptr = param("indptr", (block_rows + 1,), "int32") if sparse else None
    order = param("order", (block_rows,), "int32") if spec.order else None
    start, scale = param("start", (n,), "int32"), param("scale", (n,))
    bias = param("bias", (n,)) if spec.bias else None
    residual = param("residual", (tokens, n)) if spec.residual else None
    inverse = param("inverse", (n,)) if spec.zero_point is not None else None
    y = param("y", (tokens, n)) if inverse is None else param("y", (tokens, n // 4), "int32")
    linear = CudaLinearTensors(x, data, indices, indptr, order, bias, residual, y, tokens)
    return IntegerTensors(linear, start, scale, inverse)
