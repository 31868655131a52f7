"""Random numbers to run a linear kernel of 8-bit integers with, and what it has to compute from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from l0compile.ir.ops.bsr import heaviest_first
from l0compile.ir.ops.quantized import FEATURES
from l0compile.ir.ops.rows.integers import chunk_blocks, row_starts, rows_int8_linear
from l0compile.ir.ops.words import to_words, word_blocks
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec

_OPTIONAL = ("indices", "indptr", "order", "bias", "residual", "inverse")
# What other polynomials of an activation may be off, absolute; without one, numbers have to be equal.
_ACTIVATION = 2e-6


@dataclass(frozen=True)
class CudaIntegerProblem:
    """Arrays by the names of the kernel's parameters, without the result.

    Attributes:
        spec: of the kernel.
        arrays: what the kernel reads.
        expected: float32 [tokens, n], or words: what ``l0compile::rows_int8_linear`` computes.
    """

    spec: CudaIntegerLinearSpec
    arrays: Mapping[str, Tensor]
    expected: Tensor = field(init=False)

    def __post_init__(self) -> None:
        others = {name: self.arrays.get(name) for name in _OPTIONAL}
        needed = {name: self.arrays[name] for name in ("x", "data", "start", "scale")}
        spec = self.spec
        last = {"n": spec.n, "rows": 1, "activation": spec.activation, "zero_point": spec.zero_point or 0}
        object.__setattr__(self, "expected", rows_int8_linear(**needed, **others, **last))

    def wrong(self, result: Tensor) -> str:
        """What is wrong with a result; "" for nothing.

        Equal bit by bit, NaN included, but for activations: these may be off by their polynomials, and rounded numbers
        then by one level.
        """
        if result.shape != self.expected.shape or result.dtype != self.expected.dtype:
            return f"expected {self.expected.shape} {self.expected.dtype}, got {result.shape} {result.dtype}"
        found, wanted = result, self.expected
        if self.spec.zero_point is not None:
            found, wanted = (t.contiguous().view(torch.uint8) for t in (found, wanted))
        allowed = 0.0
        if self.spec.activation not in ("", "relu"):
            allowed = 1.0 if self.spec.zero_point is not None else _ACTIVATION
        away = (found.double() - wanted.double()).abs() - allowed * wanted.double().abs().clamp(min=1.0)
        away = away if self.spec.zero_point is None else (found.int() - wanted.int()).abs() - allowed
        bad = ~((away <= 0) | (found.isnan() & wanted.isnan()))
        if not bad.any():
            return ""
        at = tuple(map(int, bad.nonzero()[0]))
        return f"{int(bad.sum())} of {bad.numel()} numbers; at {at} {found[at]} instead of {wanted[at]}"


def cuda_integer_problem(
    spec: CudaIntegerLinearSpec, tokens: int, density: float = 0.5, seed: int = 0, features: int | None = None
) -> CudaIntegerProblem:
    """Make a problem; of the block rows of a sparse weight the second has no block at all.

    Args:
        spec: of the kernel.
        tokens: rows of x.
        density: share of the blocks of a sparse weight that are stored.
        seed: of the random numbers.
        features: of x, the last word of which may not be full; default: all words are.
    """
    random = torch.Generator().manual_seed(seed)
    k, cols, zero_point = features or FEATURES * spec.words, 16 * spec.chunks, 131
    x = torch.randint(0, 256, (tokens, k), generator=random).to(torch.uint8)
    weight = torch.randint(-127, 128, (spec.n, k), generator=random).to(torch.int8)
    if not spec.dense:
        grid = torch.rand(-(-spec.n // spec.rows), -(-k // cols), generator=random) < density
        grid[0, 0], grid[1:2] = True, False
        weight *= grid.repeat_interleave(spec.rows, 0).repeat_interleave(cols, 1)[: spec.n, :k]
    start = row_starts(weight, zero_point)
    assert start is not None
    scale = torch.rand(spec.n, generator=random) * 2 / (k**0.5 * 127 * 128)
    arrays = {"x": to_words(x), "data": to_words(weight), "start": start, "scale": scale}
    if not spec.dense:
        data, arrays["indices"], arrays["indptr"] = word_blocks(weight, spec.rows, cols)
        arrays["data"] = chunk_blocks(data)
        if spec.order:
            arrays["order"] = heaviest_first(arrays["indptr"])
    if spec.bias:
        arrays["bias"] = torch.randn(spec.n, generator=random)
    if spec.residual:
        arrays["residual"] = torch.randn(tokens, spec.n, generator=random)
    if spec.zero_point is not None:
        arrays["inverse"] = 60 + 40 * torch.rand(spec.n, generator=random)
    return CudaIntegerProblem(spec, arrays)
