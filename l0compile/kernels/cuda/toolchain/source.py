"""From a PrimFunc to the CUDA C++ that TVM generates, with how each kernel in it is launched."""

from dataclasses import dataclass
from math import prod
from typing import Any

import tvm_ffi

from l0compile.errors import BuildError, TargetError
from l0compile.hardware._tvm import tirx, tvm, tvm_target
from l0compile.hardware.targets import Target


@dataclass(frozen=True)
class CudaLaunch:
    """How one ``__global__`` function is launched.

    Attributes:
        name: of the function in the source.
        threads: of a thread block.
        dynamic_shared: bytes of shared memory that are asked for at the launch.
    """

    name: str
    threads: int
    dynamic_shared: int


@dataclass(frozen=True)
class CudaCode:
    """CUDA C++ and its kernels, in the order of their names."""

    source: str
    launches: tuple[CudaLaunch, ...]


def cuda_source(function: Any, target: Target) -> str:
    """The CUDA C++ that TVM generates for ``function``; errors as of ``cuda_code``."""
    return cuda_code(function, target).source


def cuda_code(function: Any, target: Target) -> CudaCode:
    """The CUDA C++ that TVM generates for a PrimFunc, and how its kernels are launched.

    Raises:
        TargetError: the target is not a GPU.
        BuildError: TVM made host code of it, as it does without a word for a function without thread bindings.
    """
    if target.kind != "cuda":
        raise TargetError(f"target {target.name}: expected a CUDA target, got kind {target.kind!r}")
    launches: list[CudaLaunch] = []
    with tvm.transform.PassContext(instruments=[_launch_reader(launches)]):
        executable = tvm.compile(function, target=tvm_target(target))
    if not executable.mod.imports:
        raise BuildError(
            f"target {target.name}: expected a kernel, got a loop on the host; bind its loops to blocks and threads"
        )
    source = str(executable.mod.imports[0].inspect_source("cuda"))
    return CudaCode(source, tuple(sorted(launches, key=lambda launch: launch.name)))


def _launch_reader(found: list[CudaLaunch]) -> Any:
    """A pass instrument that appends the launches of a module right after TVM has cut it into host and device code.

    Before that pass shared memory is not yet merged; in the end the launch is a packed call of the host.
    """

    class LaunchReader:
        def run_after_pass(self, module: Any, info: Any) -> None:
            if info.name == "tirx.SplitHostDevice":
                functions = module.functions.values()
                found.extend(_launch(f) for f in functions if "tirx.kernel_launch_params" in f.attrs)

    return tvm.ir.instrument.pass_instrument(LaunchReader)()


def _launch(function: Any) -> CudaLaunch:
    threads: dict[str, int] = {}
    shared: list[int] = []

    def bound(statement: Any) -> None:
        if statement.attr_key == "thread_extent" and statement.node.thread_tag.startswith("threadIdx"):
            threads[statement.node.thread_tag] = int(statement.value)

    def allocated(statement: Any) -> None:
        buffer = statement.buffer
        if buffer.scope() == "shared.dyn":
            shared.append(prod(int(extent) for extent in buffer.shape) * _bytes(str(buffer.dtype)))

    tvm_ffi.structural_walk(function.body, [(tirx.AttrStmt, bound), (tirx.AllocBuffer, allocated)])
    return CudaLaunch(str(function.attrs["global_symbol"]), prod(threads.values()), sum(shared))


def _bytes(dtype: str) -> int:
    kind = tvm.DataType(dtype)
    return int(kind.bits) * int(kind.lanes) // 8
