"""Schedules for the operators that are not ours: fused elementwise, gathers, broadcasts and reductions on a CPU.

TVM without a schedule runs them a hundred times too slow, so none may be left over. The rule: inline what is
elementwise, put independent axes outside and in parallel, the innermost one in vectors, reductions in between. A
reduction over neighbours in memory, as of a row, is done lane by lane first, and over the lanes of one vector last.
"""

from typing import Any

import tvm_ffi

from l0compile.hardware._tvm import s_tir, tirx, tvm
from l0compile.kernels.cpu.lanes import LIGHT, SCHEDULED
from l0compile.kernels.token_tile import TokenTile

# Set on a function that the rule could not change: its loops run as they were written.
PLAIN = "l0compile.plain"


def schedule_ordinary(module: Any, tile: TokenTile) -> Any:
    """Every PrimFunc of ``module`` that has no schedule yet gets one; ``scheduled`` ones are returned as they are."""
    updated = {}
    for name, function in module.functions.items():
        if isinstance(function, tirx.PrimFunc) and not (function.attrs and SCHEDULED in function.attrs):
            made = _scheduled(function, tile).with_attr(SCHEDULED, True)
            updated[name] = made if _reduces(function) else made.with_attr(LIGHT, True)
    result = tvm.IRModule(dict(module.functions), attrs=module.attrs)
    for name, function in updated.items():
        result[name] = function
    return result


def _reduces(function: Any) -> bool:
    kinds: list[int] = []
    walk = (s_tir.SBlock, lambda block: kinds.extend(int(v.iter_type) for v in block.iter_vars))
    tvm_ffi.structural_walk(function.body, walk)
    return tirx.IterVar.CommReduce in kinds


def _scheduled(function: Any, tile: TokenTile) -> Any:
    """The function by the rule, by the rule without its bolder steps, or (marked PLAIN) as it was."""
    for joined, by_lanes in ((True, True), (True, False), (False, False)):
        try:
            return _schedule(function, tile, joined, by_lanes)
        except (s_tir.ScheduleError, tvm.error.InternalError):
            # TVM cannot prove a loop over symbolic sizes equal to the original ones: be less ambitious.
            continue
    return function.with_attr(PLAIN, True)


def _schedule(function: Any, tile: TokenTile, joined: bool, by_lanes: bool) -> Any:
    sch = s_tir.Schedule(function, debug_mask="none")
    root = sch.get_sblock("root")
    for block in sch.get_child_blocks(root)[:-1]:
        if not _reductions(sch, block):
            _inline(sch, block)
    if by_lanes:
        _split_total(sch, root)
    for block in sch.get_child_blocks(root):
        if by_lanes and _neighbours(sch, block, tile):
            _reduce_lanes(sch, block, tile, joined)
        else:
            _order_loops(sch, block, tile, joined)
    return sch.mod["main"]


def _inline(sch: Any, block: Any) -> None:
    try:
        sch.compute_inline(block)
    except s_tir.ScheduleError:
        # Not inlinable: read by nobody, or written for two readers of other shapes. It keeps its own loops.
        return


def _reductions(sch: Any, block: Any) -> list[bool]:
    """Per loop of the block: is it a reduction? Empty when none is."""
    kinds = [int(v.iter_type) == tirx.IterVar.CommReduce for v in sch.get(block).iter_vars]
    return kinds if any(kinds) else []


def _split_total(sch: Any, root: Any) -> None:
    """Rewrite: a = sum over i, k of x[i, k] -> r[i] = sum over k of x[i, k]; a = sum of r. Threads share the rows."""
    for block in sch.get_child_blocks(root):
        kinds, loops = _reductions(sch, block), sch.get_loops(block)
        if len(kinds) == len(loops) > 1 and all(kinds):
            sch.rfactor(sch.fuse(*loops[:-1]) if len(loops) > 2 else loops[0], 0)


def _neighbours(sch: Any, block: Any, tile: TokenTile) -> bool:
    """Whether a block reduces over what lies side by side, in whole vectors, and every other axis only repeats that."""
    kinds, loops = _reductions(sch, block), sch.get_loops(block)
    if not kinds or len(kinds) != len(loops) or not kinds[-1] or any(kinds[:-1]):
        return False
    width, statement = _static_extent(sch, loops[-1]), sch.get(block)
    last = statement.iter_vars[-1].var
    ends = [region.region[-1].min for region in statement.reads if len(region.region)]
    side_by_side = any(end.same_as(last) for end in ends)
    return side_by_side and len(statement.writes) == 1 and width is not None and width % tile.vector == 0


def _reduce_lanes(sch: Any, block: Any, tile: TokenTile, joined: bool) -> None:
    """Rewrite: a[i] = sum over k of x[i, k] -> v[lane] = sum over j of x[i, j * lanes + lane]; a[i] = sum of v."""
    elements, static = _elements(sch, sch.get_loops(block))
    *outer, width = sch.get_loops(block)
    lanes = sch.rfactor(sch.split(width, [None, tile.vector])[1], 0)
    *outer, _ = sch.get_loops(block)
    rows = sch.fuse(*outer) if joined and len(outer) > 1 else (outer or [None])[0]
    if rows is not None:
        sch.compute_at(lanes, rows)
        if elements >= tile.core.parallel_elements or (not static and elements >= tile.lanes):
            sch.parallel(rows)
    *_, lane, steps = sch.get_loops(lanes)
    sch.reorder(steps, lane)
    sch.vectorize(lane)
    sch.decompose_reduction(lanes, steps)
    if rows is not None:
        sch.decompose_reduction(block, sch.get_loops(block)[-1])


def _order_loops(sch: Any, block: Any, tile: TokenTile, joined: bool) -> None:
    loops = sch.get_loops(block)
    kinds = _reductions(sch, block) or [False] * len(loops)
    if not loops or len(kinds) != len(loops):
        return
    spatial = [loop for loop, reduces in zip(loops, kinds, strict=True) if not reduces]
    reduce = [loop for loop, reduces in zip(loops, kinds, strict=True) if reduces]
    if not spatial:
        return
    elements, static = _elements(sch, loops)
    inner, outer, row = None, spatial, []
    width = _static_extent(sch, spatial[-1])
    if width is not None and width % tile.vector == 0:
        chunk, inner = sch.split(spatial[-1], [None, tile.vector])
        outer = [*spatial[:-1], chunk]
    elif width is not None and width > tile.vector // 2 and not reduce and len(spatial) > 1:
        # A row of another width stays a loop of its own, which LLVM makes vectors of; fused with the others it would
        # divide for every element.
        row, outer = [spatial[-1]], spatial[:-1]
    sch.reorder(*outer, *reduce, *row, *([inner] if inner is not None else []))
    fused = sch.fuse(*outer) if joined and len(outer) > 1 else outer[0]
    if elements >= tile.core.parallel_elements or (not static and elements >= tile.lanes):
        sch.parallel(fused)
    if inner is not None:
        sch.vectorize(inner)
    if reduce:
        sch.decompose_reduction(block, reduce[0])


def _elements(sch: Any, loops: list[Any]) -> tuple[int, bool]:
    """(product of the static extents, whether all are static)."""
    product, static = 1, True
    for loop in loops:
        extent = _static_extent(sch, loop)
        product, static = product * (extent or 1), static and extent is not None
    return product, static


def _static_extent(sch: Any, loop: Any) -> int | None:
    extent = sch.get(loop).extent
    return int(extent) if isinstance(extent, tirx.IntImm) else None
