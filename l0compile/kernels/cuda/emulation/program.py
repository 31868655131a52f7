"""A PrimFunc as the CUDA source that TVM makes of it, with its launches as the host side of the function has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch

from l0compile.errors import BuildError, InputError
from l0compile.hardware._tvm import tirx, tvm, tvm_target
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.emulation.extents import value_of
from l0compile.kernels.cuda.emulation.host_calls import HostCall, HostReader
from l0compile.kernels.cuda.emulation.kernel import (
    ORDERS,
    KernelArray,
    KernelLaunch,
    Order,
    poisoned,
    run_launches,
)
from l0compile.kernels.cuda.emulation.toolchain import executable

_SPLIT = "tirx.SplitHostDevice"
_DYNAMIC = "tirx.use_dyn_shared_memory"
_EXTENTS = ("blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x", "threadIdx.y", "threadIdx.z")


@dataclass(frozen=True)
class CudaProgram:
    """CUDA source with the launches that compute a function.

    Attributes:
        source: CUDA C++.
        calls: the launches, in order.
        parameters: name of each buffer that is a parameter -> the buffer.
        workspaces: the same for buffers that the host side makes, between launches.
        bound: names that the host side gives to expressions.
    """

    source: str
    calls: tuple[HostCall, ...]
    parameters: Mapping[str, Any]
    workspaces: Mapping[str, Any]
    bound: Mapping[str, Any]

    def run(
        self,
        arrays: Mapping[str, Any],
        sizes: Mapping[str, int] | None = None,
        orders: Sequence[Order] = ORDERS,
        seconds: float = 60.0,
    ) -> dict[str, KernelArray]:
        """Run on the CPU; return each parameter as it is afterwards.

        arrays: parameter -> array or tensor; one that is left out is a result.
        sizes: symbolic sizes that no array's shape shows.

        Raises:
            KernelFault: what the kernel does wrong.
            InputError: a shape or dtype that the function does not have, or a size that is not known.
        """
        values = {name: _array(value) for name, value in arrays.items()}
        known = self._sizes(values, dict(sizes or {}))
        buffers = {}
        for name, buffer in (*self.parameters.items(), *self.workspaces.items()):
            if name in values:
                buffers[name] = values[name]
            else:
                buffers[name] = poisoned(
                    [value_of(extent, known, self.bound) for extent in buffer.shape], _dtype(buffer.dtype)
                )
        launches = [_launch(call, list(buffers), known, self.bound) for call in self.calls]
        results = run_launches(executable(self.source), launches, buffers, orders, seconds)
        return {
            name: result for name, result in zip(buffers, results, strict=True) if name in self.parameters
        }

    def _sizes(self, values: Mapping[str, KernelArray], sizes: dict[str, int]) -> dict[str, int]:
        """Return each symbolic size by name, and check the arrays against the parameters' shapes."""
        if unknown := set(values) - set(self.parameters):
            raise InputError(f"expected arrays for {list(self.parameters)}, got others: {sorted(unknown)}")
        for name, value in values.items():
            shape, dtype = self.parameters[name].shape, _dtype(self.parameters[name].dtype)
            if value.dtype != dtype or value.ndim != len(shape):
                raise InputError(
                    f"array {name!r}: expected {dtype} with {len(shape)} dimensions, "
                    f"got {value.dtype} of shape {value.shape}"
                )
            for extent, given in zip(shape, value.shape, strict=True):
                if isinstance(extent, tirx.Var):
                    sizes.setdefault(extent.name, given)
        for name, value in values.items():
            expected = tuple(value_of(extent, sizes) for extent in self.parameters[name].shape)
            if value.shape != expected:
                raise InputError(f"array {name!r}: expected shape {expected}, got {value.shape}")
        return sizes


def cuda_program(function: Any, target: Target) -> CudaProgram:
    """Compile ``function`` for ``target``, and read its launches.

    Raises: BuildError where TVM makes no kernel of it, or its host side does more than launch kernels.
    """
    seen: list[Any] = []

    @tvm.ir.instrument.pass_instrument
    class Watch:
        def run_after_pass(self, module: Any, info: Any) -> None:
            if info.name == _SPLIT:
                seen.append(module)

    with tvm.transform.PassContext(instruments=[Watch()]):
        compiled = tvm.compile(function, target=tvm_target(target))
    if not compiled.mod.imports:
        raise BuildError(
            f"target {target.name}: expected a kernel, got a loop on the host; bind its loops to threads"
        )
    functions = {name.name_hint: value for name, value in seen[-1].functions.items()}
    kernels = {
        name: [str(one) for one in value.attrs["tirx.kernel_launch_params"]]
        for name, value in functions.items()
        if value.attrs is not None and "tirx.kernel_launch_params" in value.attrs
    }
    (host,) = (value for name, value in functions.items() if name not in kernels)
    reader = HostReader(host, kernels)
    return CudaProgram(
        source=str(compiled.mod.imports[0].inspect_source("cuda")),
        calls=tuple(reader.calls()),
        parameters={one.name: one for one in host.params if hasattr(one, "shape")},
        workspaces=reader.workspaces,
        bound=reader.bound,
    )


def _launch(
    call: HostCall, buffers: list[str], sizes: Mapping[str, int], bound: Mapping[str, Any]
) -> KernelLaunch:
    extents = {name: value_of(value, sizes, bound) for name, value in call.extents.items()}
    three = [extents.get(name, 1) for name in _EXTENTS]
    arguments = tuple(
        ("buffer", buffers.index(one)) if isinstance(one, str) else value_of(one, sizes, bound)
        for one in call.arguments
    )
    grid, block = (three[0], three[1], three[2]), (three[3], three[4], three[5])
    return KernelLaunch(call.kernel, grid, block, arguments, extents.get(_DYNAMIC, 0))


def _dtype(name: Any) -> np.dtype[Any]:
    text = str(name)
    return np.dtype(ml_dtypes.bfloat16 if text == "bfloat16" else text)


def _array(value: Any) -> KernelArray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous()
        if value.dtype == torch.bfloat16:
            return np.asarray(value.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
        return np.asarray(value.numpy())
    return np.asarray(value)
