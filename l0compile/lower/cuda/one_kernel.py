"""One kernel by itself as a library for a GPU, with the facts of its machine code."""

from typing import Any

from l0compile.errors import BuildError
from l0compile.hardware._tvm import cc, relax, tirx
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.toolchain import CompiledFacts, CudaLaunch, compile_source, facts_of
from l0compile.lower.cuda.build import code_of, scheduled_cuda
from l0compile.lower.cuda.device_code import DeviceCode
from l0compile.lower.cuda.host_code import host_code
from l0compile.lower.cuda.library import CudaLibrary, DeviceImage, linked


def kernel_library(function: Any, target: Target) -> tuple[CudaLibrary, tuple[CompiledFacts, ...]]:
    """Compile a scheduled PrimFunc whose last parameter is its result.

    Args:
        function: with blocks and threads.
        target: a GPU; it need not be here.

    Returns:
        A library whose program takes the other parameters, and facts of each kernel that it launches.

    Raises:
        MissingDependency: nvcc, a reader of machine code or a C compiler is not installed.
        BuildError: code generation failed, or nvcc refuses the code.
    """
    ready = scheduled_cuda(_program(function), target)
    code = code_of(ready, target)
    made = compile_source(code.source, target)
    library = linked(host_code(ready.main, code), DeviceImage(code.source, made.cubin), cc.get_cc())
    return library, facts_of(made, _launches(code), target)


def _program(function: Any) -> Any:
    """A module whose ``main`` calls the function once."""
    builder = relax.BlockBuilder()
    params = [
        relax.Var(param.name, relax.TensorType([*param.ty.shape], str(param.ty.dtype)))
        for param in function.params
    ]
    called = builder.add_func(function, "kernel")
    *given, result = params
    with builder.function("main", given, attrs={"num_input": len(given)}):
        with builder.dataflow():
            made = builder.emit(relax.call_tir(called, relax.Tuple(given), result.ty))
            out = builder.emit_output(relax.Tuple([made]))
        builder.emit_func_output(out)
    return builder.get()


def _launches(code: DeviceCode) -> tuple[CudaLaunch, ...]:
    found = {launch.kernel: launch for host in code.functions.values() for launch in host.launches}
    return tuple(
        CudaLaunch(name, _known(launch.extents[3:]), _known([launch.shared]))
        for name, launch in sorted(found.items())
    )


def _known(sizes: Any) -> int:
    """The product of sizes that do not depend on the inputs."""
    product = 1
    for size in sizes:
        if not isinstance(size, int | tirx.IntImm):
            raise BuildError(f"kernel: expected a number of threads and bytes that is known, got {size}")
        product *= int(size)
    return product
