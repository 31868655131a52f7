"""What one thread block works on: the operands, and its tile of queries."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, param, symbol
from l0compile.kernels.cuda.attention.schedules import (
    CudaAttentionSchedule,
    SharedPlan,
)
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec
from l0compile.kernels.cuda.ptx import kept
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class CudaOperands:
    """The arguments of a kernel, and how it is cut; sizes are int64.

    Attributes:
        asynchronous: the device copies to shared memory behind the back of its threads.
    """

    spec: CudaAttentionSpec
    schedule: CudaAttentionSchedule
    plan: SharedPlan
    asynchronous: bool
    batch: Expr
    queries: Expr
    keys: Expr
    q: Any
    k: Any
    v: Any
    mask: Any
    bias: Any
    y: Any

    @property
    def tiles(self) -> Expr:
        """Tiles of queries of a sequence."""
        size = self.schedule.queries
        return TB.truncdiv(self.queries + (size - 1), size)


@dataclass(frozen=True)
class QueryTile:
    """A tile of queries of one head of one sequence; all but ``sequence`` are int32.

    Attributes:
        sequence: its number, int64.
        head: of the queries.
        kv_head: of the keys and values.
        first: the tile's first query in the sequence.
        end: the query behind the last one.
        thread: number of this thread in the block.
        warp: number of its warp.
        lane: its place in the warp.
        shared: address of its shared memory.
    """

    sequence: Expr
    head: Expr
    kv_head: Expr
    first: Expr
    end: Expr
    thread: Expr
    warp: Expr
    lane: Expr
    shared: Expr


@dataclass(frozen=True)
class SizesOfCall:
    """The symbols that all buffers share."""

    batch: Expr
    queries: Expr
    keys: Expr


def sizes_of_call() -> SizesOfCall:
    return SizesOfCall(symbol("batch"), symbol("queries"), symbol("keys"))


def query_key_value(spec: CudaAttentionSpec, sizes: SizesOfCall) -> tuple[Any, Any, Any]:
    """Declare q, k and v."""
    q = param("q", (sizes.batch, sizes.queries, spec.heads * spec.dim), spec.dtype)
    k = param("k", (sizes.batch, sizes.keys, spec.kv_heads * spec.dim), spec.dtype)
    v = param("v", (sizes.batch, sizes.keys, spec.kv_heads * spec.value_dim), spec.dtype)
    return q, k, v


def mask_and_bias(spec: CudaAttentionSpec, sizes: SizesOfCall) -> tuple[Any, Any]:
    """Declare the mask and the bias that the kernel has; None where it has none."""
    mask = bias = None
    if spec.mask is not None:
        extents = (sizes.batch, spec.heads, sizes.queries, sizes.keys)
        shape = tuple(n if full else 1 for n, full in zip(extents, spec.mask.full, strict=True))
        mask = param("mask", shape, spec.mask.dtype)
    if spec.bias is not None:
        bias = param("bias", (spec.heads if spec.bias.heads else 1, symbol("distances")), spec.bias.dtype)
    return mask, bias


def result(spec: CudaAttentionSpec, sizes: SizesOfCall) -> Any:
    """Declare the result."""
    return param("y", (sizes.batch, sizes.queries, spec.result_width), spec.dtype)


def query_tile(
    given: CudaOperands, head: Expr, first: Expr, end: Expr, thread: Expr, shared: Expr
) -> QueryTile:
    """The tile of queries ``first`` to ``end`` of head ``head``, counted over all sequences."""
    spec = given.spec
    sequence = kept(TB.truncdiv(head, spec.heads), "int64")
    own = kept(TB.cast(TB.truncmod(head, spec.heads), "int32"))
    warp, lane = kept(TB.truncdiv(thread, 32)), kept(TB.truncmod(thread, 32))
    kv_head = TB.truncdiv(own, spec.heads // spec.kv_heads)
    return QueryTile(sequence, own, kept(kv_head), kept(first), kept(end), thread, warp, lane, shared)
