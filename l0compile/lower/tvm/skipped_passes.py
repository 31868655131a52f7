"""TVM's passes that scheduled functions do better without.

Two change nothing in most of them, and take a third of the time of all passes. One costs registers.
"""

from typing import Any

import tvm_ffi

from l0compile.hardware._tvm import s_tir
from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.lanes import is_kernel
from l0compile.kernels.token_tile import has_few_registers

# Removes statements without effect, as LLVM does: the machine code is the same without it.
_NO_OPS = "tirx.RemoveNoOp"
# Makes the buffers that a block allocates as small as what is used of them.
_COMPACT = "s_tir.CompactBufferAllocation"
# Lets buffers share memory whose lives don't overlap. A variable of half a register then keeps the other half of one
# of a whole register, so that LLVM has both alive: of 16 registers that leaves too few for a kernel's sums, which it
# keeps on the stack, within the loop that adds to them.
_SHARE = "tirx.StorageRewrite"


def skipped_passes(function: Any, target: Target) -> tuple[str, ...]:
    """Return the names of passes to leave out for ``function``, a ``tirx.PrimFunc`` with a schedule."""
    allocated: list[Any] = []
    tvm_ffi.structural_walk(
        function.body, (s_tir.SBlock, lambda block: allocated.extend(block.alloc_buffers))
    )
    no_sharing = (_SHARE,) if is_kernel(function) and has_few_registers(target) else ()
    return (_NO_OPS, *(() if allocated else (_COMPACT,)), *no_sharing)
