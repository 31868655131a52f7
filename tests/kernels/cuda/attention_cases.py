"""Cases of attention on CUDA: operands at random, the emulated kernel, the operator in float64, and what may differ."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l0compile.hardware.targets import Target, load_target
from l0compile.ir.ops.attention.row_program import RowProgram
from l0compile.kernels.cpu.attention.block.spec import ListAxes
from l0compile.kernels.cuda.attention.code import cuda_attention, cuda_block_attention
from l0compile.kernels.cuda.attention.schedules import AnyAttentionSpec, CudaAttentionSchedule, attention_of
from l0compile.kernels.cuda.attention.spec import (
    CudaAttentionSpec,
    CudaBlockAttentionSpec,
    MaskOperand,
)
from l0compile.kernels.cuda.emulation.run import emulate
from tests.kernels.listed_keys import drawn

l0 = torch.ops.l0compile
ONE, ALL, BY_HEAD = ListAxes(False, False), ListAxes(True, True), ListAxes(False, True)
UNIT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Largest relative error of a number that is rounded to a type."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class AttentionCase:
    """One call of a kernel.

    Attributes:
        sizes: batch, queries and keys.
        share: of the blocks and keys that rows list.
    """

    spec: AnyAttentionSpec
    sizes: tuple[int, int, int]
    schedule: CudaAttentionSchedule | None = None
    share: float = 0.6

    @property
    def own(self) -> CudaAttentionSpec:
        return attention_of(self.spec)


def machine(architecture: int) -> Target:
    """The shipped target of that compute capability."""
    return load_target(f"cuda-sm{architecture}")


def operands(case: AttentionCase, seed: int = 0) -> tuple[Tensors, RowProgram | None]:
    """All arrays of a call by name, and the row program that some of them are."""
    torch.manual_seed(seed)
    own, (batch, queries, keys) = case.own, case.sizes
    dtype = getattr(torch, own.dtype)
    made = {
        "q": torch.randn(batch, queries, own.heads * own.dim),
        "k": torch.randn(batch, keys, own.kv_heads * own.dim),
        "v": torch.randn(batch, keys, own.kv_heads * own.value_dim),
    }
    made = {name: value.to(dtype) for name, value in made.items()}
    program = None
    if isinstance(case.spec, CudaBlockAttentionSpec):
        program = drawn(case.spec, case.sizes, case.share, wide=1)
        given = zip(_LISTS, program.operands(), strict=True)
        made |= {name: value for name, value in given if value is not None}
    if own.mask is not None:
        made["mask"] = _mask(own.mask, (batch, own.heads, queries, keys))
    if own.bias is not None:
        made["bias"] = torch.randn(own.heads if own.bias.heads else 1, queries + keys - 1).to(
            getattr(torch, own.bias.dtype)
        )
    return made, program


_LISTS = (
    "full_counts", "full_entries", "partial_counts", "partial_entries", "pattern_numbers", "patterns", "column_counts",
    "column_entries",
)  # fmt: skip


def _mask(of: MaskOperand, extents: tuple[int, ...]) -> Tensor:
    live = torch.rand([n if full else 1 for n, full in zip(extents, of.full, strict=True)]) < 0.8
    if of.boolean:
        return live
    # Models mask with the lowest number, too, and that must count where there is nothing else.
    dtype = getattr(torch, of.dtype)
    low = torch.where(torch.rand(live.shape) < 0.5, float("-inf"), torch.finfo(dtype).min)
    return torch.where(live, torch.randn(live.shape), low).to(dtype)


def launched(case: AttentionCase, arrays: Tensors, target: Target) -> Tensor:
    """What the emulated kernel gives."""
    emit: Any = cuda_block_attention if isinstance(case.spec, CudaBlockAttentionSpec) else cuda_attention
    found = emulate(emit(case.spec, target, case.schedule), target, arrays)["y"]
    return torch.from_numpy(found.astype("float64"))


def expected(case: AttentionCase, arrays: Tensors, program: RowProgram | None) -> Tensor:
    """What the operator gives in float64."""
    own = case.own
    wide = {name: t.double() if t.is_floating_point() else t for name, t in arrays.items()}
    q, k, v, mask, bias = (wide.get(name) for name in ("q", "k", "v", "mask", "bias"))
    if program is None or not isinstance(case.spec, CudaBlockAttentionSpec):
        return l0.attention(q, k, v, mask, own.heads, own.scale, own.before, own.after)  # type: ignore[no-any-return]
    rest = (own.heads, case.spec.q_block, case.spec.k_block, own.scale, own.softcap, own.log_sum_exp)
    return l0.block_attention(q, k, v, *program.operands(), mask, bias, *rest)  # type: ignore[no-any-return]


def check(case: AttentionCase, target: Target, seed: int = 0) -> None:
    """The kernel gives what the operator does, but for the rounding of weights and of the result."""
    arrays, program = operands(case, seed)
    compare(case, launched(case, arrays, target), arrays, program)


def compare(case: AttentionCase, found: Tensor, arrays: Tensors, program: RowProgram | None) -> None:
    """Each weight may be off by the rounding of its type, the sum of them by that of the result, both by 1e-5."""
    wanted = expected(case, arrays, program)
    largest = expected(case, {**arrays, "v": arrays["v"].abs()}, program).abs()
    most = UNIT[case.own.dtype] * (largest + wanted.abs()) + 1e-5
    none = wanted == float("-inf")
    assert torch.equal(found == float("-inf"), none) and not found.isnan().any()
    error = (found - wanted).abs().masked_fill(none, 0.0)
    assert (error <= most).all(), f"{case}: {float((error / most).max()):.2f} of what may differ"
