"""Emulates a PrimFunc in one call."""

from collections.abc import Mapping, Sequence
from typing import Any

from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.emulation.kernel import ORDERS, KernelArray, Order
from l0compile.kernels.cuda.emulation.program import cuda_program


def emulate(
    function: Any,
    target: Target,
    arrays: Mapping[str, Any],
    sizes: Mapping[str, int] | None = None,
    orders: Sequence[Order] = ORDERS,
    seconds: float = 60.0,
) -> dict[str, KernelArray]:
    """Compile ``function`` to CUDA, run it on the CPU, and return each parameter by name as it is afterwards.

    function: a PrimFunc with thread bindings.
    target: a CUDA target.
    arrays: parameter -> NumPy array or tensor; one that is left out is a result, and starts as NaN.
    sizes: symbolic sizes that no array's shape shows.
    orders: the orders of threads and blocks to run it in.
    seconds: the most that one order may take.

    Raises: KernelFault, BuildError, InputError; see the package.
    """
    return cuda_program(function, target).run(arrays, sizes, orders, seconds)
