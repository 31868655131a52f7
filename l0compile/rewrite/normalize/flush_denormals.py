"""Set denormal weights to zero."""

from typing import Any

import numpy as np
import torch

from l0compile.ir.program import Program

_CHUNK = 1 << 15  # elements that are examined together: few enough to stay in cache
# dtype -> (integers of its size in PyTorch and in NumPy, which has unsigned arithmetic, bits of the mantissa)
_BITS: dict[torch.dtype, tuple[torch.dtype, Any, int]] = {
    torch.float32: (torch.int32, np.uint32, 23),
    torch.float64: (torch.int64, np.uint64, 52),
    torch.bfloat16: (torch.int16, np.uint16, 7),
}


def flush_denormals(program: Program) -> Program:
    """Set denormal weights to zero: as operands they make many CPUs 5 to 50 times slower (rule 9).

    Rewrite: every constant element with 0 < |x| < smallest normal number of its dtype -> 0.
    Checks: only dtypes that arithmetic uses directly, or with the same exponents (bfloat16); for float32 the difference
        is below 1.2e-38. A denormal float16, up to 6e-5, stays: it is computed in float32, where it is normal.
    Returns: the program, itself when no constant holds a denormal.
    """
    flushed = {
        name: tensor for name, value in program.constants.items() if (tensor := _flush(value)) is not value
    }
    if not flushed:
        return program
    graph, constants = program.edit()
    return program.with_graph(graph, {**constants, **flushed})


def _flush(value: torch.Tensor) -> torch.Tensor:
    if value.dtype not in _BITS or not _has_denormal(value):
        return value
    return value.masked_fill((value.abs() < torch.finfo(value.dtype).tiny) & (value != 0), 0.0)


def _has_denormal(value: torch.Tensor) -> bool:
    """Whether the bits of some number, without the sign, are a mantissa alone: from 1 to the largest mantissa."""
    signed, unsigned, mantissa = _BITS[value.dtype]
    bits = value.detach().contiguous().view(signed).numpy().view(unsigned).reshape(-1)
    magnitude, one, largest = ~unsigned(0) >> unsigned(1), unsigned(1), (1 << mantissa) - 1
    return any(
        ((bits[start : start + _CHUNK] & magnitude) - one).min() < largest
        for start in range(0, bits.size, _CHUNK)
    )
