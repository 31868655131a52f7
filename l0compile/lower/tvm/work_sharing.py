"""Kernels that leave their parallel loop to the caller: a call does one of several shares of the tasks."""

from dataclasses import dataclass
from typing import Any

import tvm_ffi

from l0compile.hardware._tvm import TB, s_tir, tirx, tvm
from l0compile.kernels.cpu.lanes import LIGHT
from l0compile.lower.tvm.ordinary import PLAIN


@dataclass(frozen=True)
class WorkShared:
    """A kernel of which each call does one share of the tasks.

    Attributes:
        function: The kernel, with two more parameters: the share, and the number of shares.
        writes: Positions of the parameters that it writes.
        parallel: Whether it has more than one task.
        light: Whether it computes little for each byte that it touches.
    """

    function: Any
    writes: frozenset[int]
    parallel: bool
    light: bool


def share_work(function: Any) -> WorkShared | None:
    """Let the caller share out the tasks of a kernel; a kernel without a parallel loop is one task.

    Returns:
        The kernel, or None if its tasks cannot be divided: one loop waits for another, or all tasks share memory.
    """
    root = function.body.block if isinstance(function.body, s_tir.SBlockRealize) else None
    if root is None or len(root.match_buffers) or root.init is not None:
        return None
    loop, writes = root.body, _written(function)
    parallel = _is_parallel(loop)
    if writes is None or _parallel_loops(loop) != int(parallel) or (parallel and len(root.alloc_buffers)):
        return None
    share, shares = tirx.Var("share", "int64"), tirx.Var("shares", "int64")
    part = _part(loop, share, shares) if parallel else tirx.IfThenElse(share == 0, loop, None)
    block = s_tir.SBlock([], root.reads, root.writes, root.name_hint, part, None, root.alloc_buffers)
    whole = s_tir.SBlockRealize([], tirx.const(True, "bool"), block)
    shared = tirx.PrimFunc([*function.params, share, shares], whole, function.ret_type, function.attrs)
    return WorkShared(shared.without_attr(PLAIN), writes, parallel, LIGHT in (function.attrs or {}))


def _part(loop: Any, share: Any, shares: Any) -> Any:
    """Make a loop over the iterations of one share; the shares are contiguous and of about equal size."""
    extent = TB.cast(loop.extent, "int64")
    begin, end = (TB.truncdiv(extent * number, shares) for number in (share, share + 1))
    # The loop starts at zero, because TVM 0.27 drops another start if it proves the extent to be small.
    turn = tirx.Var("turn", "int64")
    task = tirx.Bind(loop.loop_var, TB.cast(begin + turn, str(loop.loop_var.ty.dtype)))
    turns = tirx.SeqStmt([task, loop.body])
    return tirx.For(turn, tirx.const(0, "int64"), end - begin, tirx.ForKind.SERIAL, turns)


def _is_parallel(statement: Any) -> bool:
    return isinstance(statement, tirx.For) and statement.kind == tirx.ForKind.PARALLEL


def _parallel_loops(statement: Any) -> int:
    found: list[bool] = []
    tvm_ffi.structural_walk(statement, (tirx.For, lambda loop: found.append(_is_parallel(loop))))
    return sum(found)


def _written(function: Any) -> frozenset[int] | None:
    """Return the positions of the parameters that ``function`` writes; None if it may write through a pointer."""
    targets: list[Any] = []
    calls: list[str] = []
    callbacks = (
        (tirx.BufferStore, lambda store: targets.append(store.buffer)),
        (tvm.ir.Call, lambda call: calls.append(str(getattr(call.op, "name", "unknown")))),
    )
    tvm_ffi.structural_walk(function.body, callbacks)
    if any(word in name for name in calls for word in ("extern", "packed", "ptr", "unknown")):
        return None
    return frozenset(i for i, param in enumerate(function.params) if any(param.same_as(t) for t in targets))
