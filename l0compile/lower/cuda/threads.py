"""Blocks and threads of a GPU for the operators that are not ours: products, reductions, elementwise, gathers.

TVM's rules for GPUs (dlight) do it. The first that takes a function wins: a product of matrices in tiles of shared
memory, a product with a vector, a reduction by all threads of a block, a reduction within what is fused around it, and
for the rest one thread for each element of the result. Tensor cores are left to kernels of ours: TVM's rule for them
knows neither bfloat16 nor a tail, and pads what it does not fit.
"""

from typing import Any

import tvm_ffi

from l0compile.errors import BuildError
from l0compile.hardware._tvm import dlight, s_tir, tirx, tvm, tvm_target
from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.lanes import SCHEDULED

_NO_TENSOR_CORES = "dlight.do_not_tensorize"
_THREADS = "thread_extent"


def bind_threads(module: Any, target: Target) -> Any:
    """Give every PrimFunc of ``module`` that has no threads yet blocks and threads.

    Raises:
        BuildError: no rule takes some function; the message names the operators that were fused into it.
    """
    result = tvm.IRModule(dict(module.functions), attrs=module.attrs)
    with tvm_target(target):
        for name, function in module.functions.items():
            if not isinstance(function, tirx.PrimFunc):
                continue
            if function.attrs and SCHEDULED in function.attrs:
                if unbound(function):  # loops in an order of their own, as of a running sum
                    raise _without_threads(str(name.name_hint), target, [])
            else:
                result[name] = _bound(str(name.name_hint), function, target).with_attr(SCHEDULED, True)
    return result


def _bound(name: str, function: Any, target: Target) -> Any:
    """The function by the first rule that takes it and leaves no loop to the host."""
    plain = function.with_attr(_NO_TENSOR_CORES, True)
    failed: list[str] = []
    for rule in _rules():
        try:
            found = rule.apply(plain, tvm_target(target), False)
        except (s_tir.ScheduleError, tvm.error.InternalError, ValueError, TypeError, AttributeError) as error:
            # A rule that is not for this function says so by None, or fails on the way to finding out.
            lines = str(error).strip().splitlines() or [""]
            failed.append(f"{type(rule).__name__}: {lines[-1]}")
            continue
        if found is not None:
            made = (found[0] if isinstance(found, list) else found).mod["main"]
            if not unbound(made):
                return made.without_attr(_NO_TENSOR_CORES)
    raise _without_threads(name, target, failed)


def _without_threads(name: str, target: Target, failed: list[str]) -> BuildError:
    why = f" ({'; '.join(failed)})" if failed else ""
    return BuildError(
        f"target {target.name}: {name}: expected a rule that gives it threads of a GPU, got none{why}; replace the "
        "operator in the model, or compile the part without it"
    )


def _rules() -> tuple[Any, ...]:
    gpu = dlight.gpu
    return gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback()


def unbound(function: Any) -> bool:
    """Whether ``function`` writes to memory, or repeats a launch, outside of every thread of a GPU."""
    outside: list[Any] = []

    def loop(node: Any) -> Any:
        if node.kind == tirx.ForKind.THREAD_BINDING:
            return tvm_ffi.WalkResult.SKIP
        if not (isinstance(node.extent, tirx.IntImm) and int(node.extent) == 1):
            outside.append(node)
        return tvm_ffi.WalkResult.ADVANCE

    def attribute(node: Any) -> Any:
        return tvm_ffi.WalkResult.SKIP if node.attr_key == _THREADS else tvm_ffi.WalkResult.ADVANCE

    callbacks = [(tirx.For, loop), (tirx.AttrStmt, attribute), (tirx.BufferStore, outside.append)]
    tvm_ffi.structural_walk(function.body, callbacks, order="pre")
    return bool(outside)
