"""Launches as functions of TVM, for code that is generated in memory, where there may be no compiler of C."""

from collections.abc import Sequence
from typing import Any

from l0compile.hardware._tvm import TB, IRBuilder, tirx, tvm
from l0compile.kernels.cpu.lanes import SCHEDULED, body
from l0compile.lower.tvm.launches import Joined, JointLaunch


def with_launches(joined: Joined, threads: int) -> Any:
    """Return the module of ``joined`` with its launches as functions.

    Args:
        joined: The result of ``join_launches``, lowered.
        threads: Number of tasks of a launch.
    """
    result = tvm.IRModule(dict(joined.module.functions), attrs=joined.module.attrs)
    for launch in joined.launches:
        result[launch.name] = _function(launch, threads)
    return result


def _function(launch: JointLaunch, threads: int) -> Any:
    """Make a PrimFunc that calls kernels by name in one parallel region."""
    kernels = launch.kernels
    with IRBuilder() as builder, TB.prim_func(s_tir=True):
        TB.func_name(launch.name)
        TB.func_attr({SCHEDULED: True, "tirx.noalias": True, "global_symbol": launch.name})
        kinds = ["handle" if tensor else "int64" for tensor in launch.tensors]
        arguments = [TB.arg(f"a{i}", tirx.Var(f"a{i}", kind)) for i, kind in enumerate(kinds)]
        with body(), TB.attr(tirx.const(0, "int32"), "pragma_parallel_launch_point", tirx.const(1, "int32")):
            for number, kernel in enumerate(kernels):
                own = [arguments[place] for place in kernel.places]
                if number + 1 < len(kernels) and kernels[number + 1].waits:
                    pragma = "pragma_parallel_barrier_when_finish"
                    with TB.attr(tirx.const(0, "int32"), pragma, tirx.const(1, "int32")):
                        _call(kernel.name, own, threads)
                else:
                    _call(kernel.name, own, threads)
    return builder.get()


def _call(name: str, arguments: Sequence[Any], threads: int) -> None:
    with TB.parallel(0, threads) as share:
        shares = TB.cast(share, "int64"), tirx.const(threads, "int64")
        TB.evaluate(tirx.call_cpacked(name, *arguments, *shares))
