"""relax.IRModule -> a library for a GPU: legalise, fuse, give threads, plan memory, generate code, link."""

from dataclasses import dataclass
from typing import Any

from l0compile.errors import BuildError, L0CompileError
from l0compile.hardware._tvm import cc, relax, tirx, tvm_target
from l0compile.hardware.targets import Target
from l0compile.lower.cuda.device_code import DeviceCode, device_code
from l0compile.lower.cuda.host_code import host_code
from l0compile.lower.cuda.library import CudaLibrary, device_image, linked
from l0compile.lower.cuda.threads import bind_threads
from l0compile.lower.tvm.code_cache import user_cache
from l0compile.lower.tvm.fusion import allocating, fused
from l0compile.lower.tvm.memory_plan import plan_memory


@dataclass(frozen=True)
class GpuModule:
    """A module that is ready for code generation.

    Attributes:
        main: what the host does.
        functions: name -> scheduled PrimFunc.
    """

    main: Any
    functions: dict[str, Any]


def build_cuda(module: Any, target: Target) -> CudaLibrary:
    """Generate code for ``module``.

    Args:
        module: the result of ``translate``.
        target: a GPU; it need not be there.

    Raises:
        BuildError: some operator got no threads, or code generation failed.
        MissingDependency: there is no C compiler for the host code.
    """
    try:
        ready = scheduled_cuda(module, target)
        code = code_of(ready, target)
        host = host_code(ready.main, code)
    except L0CompileError:
        raise
    except Exception as error:  # passes of TVM raise errors of any type
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BuildError(f"target {target.name}: code generation failed: {lines[-1]}") from error
    return linked(host, device_image(code.source, target, user_cache()), cc.get_cc())


def code_of(ready: GpuModule, target: Target) -> DeviceCode:
    """The device code of a scheduled module."""
    return device_code(ready.functions, target)


def scheduled_cuda(module: Any, target: Target) -> GpuModule:
    """Lower ``module`` to a host function that allocates and calls, and functions with threads."""
    with tvm_target(target):
        # A reshape is another name for memory here; its loops would get threads if they were left in the module.
        module = relax.transform.RewriteDataflowReshape()(fused(module))
        module = bind_threads(relax.transform.DeadCodeElimination()(module), target)
        module = plan_memory(allocating(module))
    functions = {
        str(name.name_hint): function
        for name, function in module.functions.items()
        if isinstance(function, tirx.PrimFunc)
    }
    return GpuModule(module["main"], functions)
