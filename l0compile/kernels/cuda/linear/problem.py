"""Random numbers to run a linear kernel with, and what it has to compute from them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.bsr import from_blocks, heaviest_first, to_blocks
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec

# Half the distance of neighbouring numbers, relative to them.
_ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}
_TF32_ROUNDING = 2.0**-11
# What sums in float32 may lose, relative to the sum of the absolute products.
_SUMMING = 1e-6


@dataclass(frozen=True)
class CudaLinearProblem:
    """Arrays by the names of the kernel's parameters, without the result.

    Attributes:
        arrays: what the kernel reads.
        expected: float64 [tokens, n], the result for just these numbers.
        allowed: float64 [tokens, n], how far the kernel may be from it: the result's own rounding, the rounding of the
            factors to TF32, and what summing in float32 loses.
    """

    arrays: Mapping[str, Tensor]
    expected: Tensor
    allowed: Tensor

    def error(self, result: Tensor) -> float:
        """The largest difference of a result from what was expected, as a fraction of what is allowed; of none 0."""
        gaps = ((result.double() - self.expected).abs() / self.allowed).nan_to_num(nan=torch.inf)
        return float(gaps.max()) if gaps.numel() else 0.0


def cuda_linear_problem(
    spec: CudaLinearSpec, tokens: int, density: float = 0.5, seed: int = 0
) -> CudaLinearProblem:
    """Make a problem; of the block rows of a sparse weight the second has no block at all.

    Args:
        spec: of the kernel.
        tokens: rows of x.
        density: share of the blocks of a sparse weight that are stored.
        seed: of the random numbers.
    """
    random = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, spec.dtype)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).to(dtype)

    x, weight = numbers(tokens, spec.k), (numbers(spec.n, spec.k) / spec.k**0.5).to(dtype)
    arrays = {"x": x}
    if spec.dense:
        arrays["weight"] = weight
    else:
        live = torch.rand(-(-spec.n // spec.rows), -(-spec.k // spec.cols), generator=random) < density
        live[0, 0], live[1:2] = True, False
        data, indices, indptr = to_blocks(weight, spec.rows, spec.cols, live)
        weight = from_blocks(data, indices, indptr, spec.n, spec.k)
        arrays |= {"data": data, "indices": indices, "indptr": indptr}
        if spec.order:
            arrays["order"] = heaviest_first(indptr)
    if spec.bias:
        arrays["bias"] = numbers(spec.n)
    if spec.residual:
        arrays["residual"] = numbers(tokens, spec.n)
    return expected_of(spec, arrays, weight.double())


def expected_of(spec: CudaLinearSpec, arrays: dict[str, Tensor], weight: Tensor) -> CudaLinearProblem:
    x, zero = arrays["x"].double(), torch.zeros(spec.n, dtype=torch.float64)
    bias, residual = (arrays.get(name, zero).double() for name in ("bias", "residual"))
    expected = activate(x @ weight.T + bias, spec.activation) + residual
    products = x.abs() @ weight.abs().T
    allowed = _ROUNDING[spec.dtype] * expected.abs() + _SUMMING * (1 + products + bias.abs() + residual.abs())
    if spec.tf32:
        allowed += 2 * _TF32_ROUNDING * products
    return CudaLinearProblem(arrays, expected, allowed)
