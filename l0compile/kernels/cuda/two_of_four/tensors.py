"""The tensors of a linear kernel for 2:4."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import param, symbol
from l0compile.kernels.cuda.linear.tensors import CudaLinearTensors
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec


@dataclass(frozen=True)
class TwoOfFourTensors:
    """Those of a dense layer, whose weight here is what is kept [n, kept of a row], and the places."""

    linear: CudaLinearTensors
    places: Any  # int32 [pieces of rows, pieces of columns, 32]


def two_of_four_tensors(spec: CudaTwoOfFourSpec) -> TwoOfFourTensors:
    """Declare the parameters of a kernel, in their order."""
    tokens, dtype = symbol("tokens"), spec.dtype
    x, kept = param("x", (tokens, spec.k), dtype), param("kept", (spec.n, spec.kept), dtype)
    places = param("places", (*spec.pieces, 32), "int32")
    bias = param("bias", (spec.n,), dtype) if spec.bias else None
    residual = param("residual", (tokens, spec.n), dtype) if spec.residual else None
    y = param("y", (tokens, spec.n), dtype)
    return TwoOfFourTensors(CudaLinearTensors(x, kept, None, None, None, bias, residual, y, tokens), places)
