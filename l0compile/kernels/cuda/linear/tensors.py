"""The tensors of a linear kernel."""

from dataclasses import dataclass
from math import gcd
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, param, symbol
from l0compile.kernels.cuda.linear.shared_tile import CHUNK
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec

_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "int32": 4}


@dataclass(frozen=True)
class CudaLinearTensors:
    """Parameters of the PrimFunc in their order; None: this spec has none."""

    x: Any  # [tokens, k]
    weight: Any  # [n, k], or the blocks [nnz, cols, rows]
    indices: Any
    indptr: Any
    order: Any
    bias: Any
    residual: Any
    y: Any  # [tokens, n]
    tokens: Expr


def tensors(spec: CudaLinearSpec) -> CudaLinearTensors:
    """Declare the parameters of a kernel."""
    tokens, nnz, block_rows = symbol("tokens"), symbol("nnz"), 0 if spec.dense else -(-spec.n // spec.rows)
    dtype, sparse = spec.dtype, not spec.dense
    weight = (nnz, spec.cols, spec.rows) if sparse else (spec.n, spec.k)
    return CudaLinearTensors(
        x=param("x", (tokens, spec.k), dtype),
        weight=param("data" if sparse else "weight", weight, dtype),
        indices=param("indices", (nnz,), "int32") if sparse else None,
        indptr=param("indptr", (block_rows + 1,), "int32") if sparse else None,
        order=param("order", (block_rows,), "int32") if spec.order else None,
        bias=param("bias", (spec.n,), dtype) if spec.bias else None,
        residual=param("residual", (tokens, spec.n), dtype) if spec.residual else None,
        y=param("y", (tokens, spec.n), dtype),
        tokens=tokens,
    )  # fmt: skip


def bytes_of(dtype: str) -> int:
    """Bytes of a number."""
    return _BYTES[dtype]


def per_chunk(dtype: str) -> int:
    """Numbers of a chunk."""
    return CHUNK // bytes_of(dtype)


def piece(dtype: str, *sizes: int) -> int:
    """Most numbers that can be copied at once where rows of a tensor, or runs of it, are ``sizes`` long."""
    return gcd(per_chunk(dtype), *sizes)
