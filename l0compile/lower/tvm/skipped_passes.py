"""TVM's passes that change nothing in most scheduled functions: a third of the time that all its passes take."""

from typing import Any

import tvm_ffi

from l0compile.hardware._tvm import s_tir

# Removes statements without effect, as LLVM does: the machine code is the same without it.
_NO_OPS = "tirx.RemoveNoOp"
# Makes the buffers that a block allocates as small as what is used of them.
_COMPACT = "s_tir.CompactBufferAllocation"


def skipped_passes(function: Any) -> tuple[str, ...]:
    """Return the names of passes to leave out for ``function``, a ``tirx.PrimFunc`` with a schedule."""
    allocated: list[Any] = []
    tvm_ffi.structural_walk(
        function.body, (s_tir.SBlock, lambda block: allocated.extend(block.alloc_buffers))
    )
    return (_NO_OPS,) if allocated else (_NO_OPS, _COMPACT)
