"""Give memory that nobody uses back to the system."""

import ctypes

from l0compile.hardware._tvm_runtime import global_function


def release() -> None:
    """Give back what compiling, or calls of other sizes, left behind. Safe while other models run.

    TVM keeps the workspace of every size that it has seen for the next call of that size, and the C library keeps
    freed weights as heap.
    """
    global_function("vm.builtin.memory_manager.clear")()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
