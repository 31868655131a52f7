"""How times of CUDA's linear kernel are recorded, and what it is timed with."""

from collections.abc import Mapping
from math import ceil

import numpy as np
import torch
from torch import Tensor, fx

from l0compile.hardware.costs import KernelWorkload, Machine
from l0compile.hardware.targets import Target
from l0compile.ir.nodes import example_size, shape
from l0compile.ir.ops.activation import ACTIVATIONS
from l0compile.ir.ops.bsr import heaviest_first
from l0compile.kernels.cuda.linear.spec import FEW_TOKENS, CudaLinearSchedule, CudaLinearSpec
from l0compile.kernels.definition import KernelCall, KernelCosts, KernelOperands, example_rows
from l0compile.kernels.token_tile import TokenTile

_TYPES = ("float32", "float16", "bfloat16")
_LEAST_ROWS = 16


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    spec: CudaLinearSpec = call.spec
    density = 1.0
    if not spec.dense:
        stored = example_size(shape(call.tensors[1])[0])
        density = min(1.0, stored / (ceil(spec.n / spec.rows) * ceil(spec.k / spec.cols)))
    words = (spec.activation, "residual" if spec.residual else "")
    return KernelWorkload(
        "linear", (spec.n, spec.k), None if spec.dense else (spec.rows, spec.cols), density, example_rows(node),
        "+".join(word for word in words if word), spec.dtype,
    )  # fmt: skip


def _spec(workload: KernelWorkload, _: TokenTile | Target) -> CudaLinearSpec | None:
    activations = [word for word in workload.words if word != "residual"] or [""]
    if len(workload.shape) != 2 or len(activations) > 1 or activations[0] not in ACTIVATIONS:
        return None
    (n, k), (rows, cols) = workload.shape, workload.block or (0, 0)
    if workload.dtype not in _TYPES or rows % _LEAST_ROWS:
        return None
    return CudaLinearSpec(
        n, k, rows, cols, workload.dtype, bias=True, residual="residual" in workload.words, order=rows > 0,
        activation=activations[0], few=workload.tokens <= FEW_TOKENS,
    )  # fmt: skip


def _counts(_: KernelWorkload, __: Machine) -> Mapping[str, float]:
    """Nothing is counted: what was not measured on a GPU is predicted by an analytic model."""
    return {}


def thread_blocks(spec: CudaLinearSpec, schedule: CudaLinearSchedule, workload: KernelWorkload) -> int:
    """Thread blocks that multiply: one for each tile, or for each part of its k."""
    return ceil(workload.tokens / schedule.tokens) * ceil(spec.n / schedule.outputs) * schedule.splits


def _operands(
    spec: CudaLinearSpec, workload: KernelWorkload, _: TokenTile | Target, random: np.random.Generator
) -> KernelOperands:
    """Blocks are kept at random places, as pruning leaves them."""
    generator = torch.Generator().manual_seed(int(random.integers(1 << 31)))
    dtype = getattr(torch, spec.dtype)

    def numbers(*extents: int) -> Tensor:
        return torch.randn(extents, generator=generator).to(dtype)

    weights = [numbers(spec.n, spec.k)]
    if not spec.dense:
        rows, columns = ceil(spec.n / spec.rows), ceil(spec.k / spec.cols)
        stored = max(1, round(rows * columns * workload.density))
        places = torch.randperm(rows * columns, generator=generator)[:stored].sort().values
        starts = torch.searchsorted(places, torch.arange(rows + 1) * columns).int()
        weights = [
            numbers(stored, spec.cols, spec.rows),
            (places % columns).int(),
            starts,
            heaviest_first(starts),
        ]
    weights.append(numbers(spec.n))
    results = [numbers(workload.tokens, spec.n) for _ in range(1 + spec.residual)]
    return KernelOperands((numbers(workload.tokens, spec.k), *weights, *results), range(1, 1 + len(weights)))


CUDA_LINEAR_COSTS = KernelCosts(_workload, _spec, _counts, _operands)
