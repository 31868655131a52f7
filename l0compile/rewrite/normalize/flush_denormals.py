"""Set denormal weights to zero."""

import torch

from l0compile.ir.program import Program

# Elements that are examined together: few enough to stay in cache, and the most for which torch uses a single thread.
# Waking its thread pool for each chunk costs milliseconds on a busy machine.
_CHUNK = 1 << 15
_TYPES = (torch.float32, torch.float64, torch.bfloat16)


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
    if value.dtype not in _TYPES or not any(map(_has_denormal, value.reshape(-1).split(_CHUNK))):
        return value
    return value.masked_fill(_denormal(value), 0.0)


def _has_denormal(chunk: torch.Tensor) -> bool:
    return bool(_denormal(chunk).any())


def _denormal(value: torch.Tensor) -> torch.Tensor:
    return (value.abs() < torch.finfo(value.dtype).tiny) & (value != 0)
