"""PrimFuncs with threads -> one CUDA C++ source for all of them, and how the host launches what is in it.

TVM's own pipeline splits each function into kernels for the device and a function for the host that launches them. The
host function is read off here, in the middle of that pipeline, and TVM makes no code of it: what it says (which kernel,
how many blocks, which arguments) becomes C, see ``host_code.py``.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from l0compile.errors import BuildError
from l0compile.hardware._tvm import tirx, tvm, tvm_target
from l0compile.hardware.targets import Target
from l0compile.lower.cuda.expressions import c_type

_FALLBACK = "TVM_COMPILE_FORCE_FALLBACK"
_SPLIT = "tirx.SplitHostDevice"
# TVM 0.27 writes an infinity of bfloat16 as ``inff``.
_PREAMBLE = "#define inff __int_as_float(0x7f800000)\n"
_LONGEST = 40  # characters of a name, of which many fused operators make a long one
_AXES = ("blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x", "threadIdx.y", "threadIdx.z")
_SHARED = "tirx.use_dyn_shared_memory"


@dataclass(frozen=True)
class TensorArgument:
    """The tensor at a place among the parameters of a function, and behind them its temporaries."""

    place: int


@dataclass(frozen=True)
class DeviceLaunch:
    """One launch of a kernel.

    Attributes:
        kernel: its name in the source.
        arguments: a TensorArgument, or the expression of a number.
        extents: blocks along x, y, z, then threads along x, y, z, as expressions.
        shared: bytes of shared memory beside what the kernel declares, an expression.
    """

    kernel: str
    arguments: tuple[Any, ...]
    extents: tuple[Any, ...]
    shared: Any


@dataclass(frozen=True)
class HostFunction:
    """What the host does for one function.

    Attributes:
        params: the parameters of the function: buffers, and variables of sizes.
        temporaries: bytes, as an expression, of each buffer that one kernel fills for another.
        bindings: (variable, expression) in the order in which they are computed.
        launches: in order.
    """

    params: tuple[Any, ...]
    temporaries: tuple[Any, ...]
    bindings: tuple[tuple[Any, Any], ...]
    launches: tuple[DeviceLaunch, ...]


@dataclass(frozen=True)
class DeviceCode:
    """Kernels for one architecture.

    Attributes:
        source: CUDA C++.
        functions: name of a function -> what the host does for it.
        parameters: name of a kernel -> C types of its parameters; "*" for a pointer.
    """

    source: str
    functions: Mapping[str, HostFunction]
    parameters: Mapping[str, tuple[str, ...]]


def device_code(functions: Mapping[str, Any], target: Target) -> DeviceCode:
    """Generate the device code of PrimFuncs.

    Args:
        functions: name -> PrimFunc, every loop of which is bound to threads or inside of one that is.
        target: a GPU.

    Raises:
        BuildError: a function leaves work to the host, which a GPU's memory does not allow.
    """
    machine, seen = tvm_target(target), _after_split()
    short = {
        name: name if len(name) <= _LONGEST else f"{name[:_LONGEST]}_{n}" for n, name in enumerate(functions)
    }
    named = {short[name]: f.with_attr("global_symbol", short[name]) for name, f in functions.items()}
    pipeline, _, finalize = tvm.tirx.get_tir_pipeline("s_tir")
    with machine, tvm.transform.PassContext(opt_level=3, instruments=[seen]):
        lowered = pipeline(tvm.tirx.transform.BindTarget(machine)(tvm.IRModule(named)))
        device = tvm.tirx.transform.Filter(_is_kernel)(lowered)
        with _source_alone():
            built = tvm.get_global_func("target.build.cuda")(finalize()(device), machine)
    host = {str(name.name_hint): function for name, function in seen.module.functions.items()}
    kernels = {name: function for name, function in host.items() if _is_kernel(function)}
    found = {name: _host_function(name, host[short[name]]) for name in functions}
    parameters = {name: tuple(map(_parameter, kernel.params)) for name, kernel in kernels.items()}
    return DeviceCode(_PREAMBLE + str(built.inspect_source("cuda")), found, parameters)


@contextmanager
def _source_alone() -> Iterator[None]:
    """Within the block TVM compiles no device code, as it would at once where a GPU's driver is loaded.

    Untested where there is one: the variable is read in C++ (``codegen_cuda.cc``) by each build.
    """
    before = os.environ.get(_FALLBACK)
    os.environ[_FALLBACK] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FALLBACK]
        else:
            os.environ[_FALLBACK] = before


def _after_split() -> Any:
    """An instrument that keeps the module as it is behind the split into host and device."""

    @tvm.ir.instrument.pass_instrument
    class _AfterSplit:
        module: Any = None

        def run_after_pass(self, module: Any, info: Any) -> None:
            if info.name == _SPLIT:
                self.module = module

    return _AfterSplit()


def _is_kernel(function: Any) -> bool:
    return int((function.attrs or {}).get("calling_conv", 0)) == 2  # CallingConv.DEVICE_KERNEL_LAUNCH


def _parameter(variable: Any) -> str:
    dtype = getattr(variable.ty, "dtype", None)
    return "*" if dtype is None or str(dtype) == "handle" else c_type(str(dtype))


def _host_function(name: str, function: Any) -> HostFunction:
    reader = _SplitReader(name, tuple(function.params))
    reader.read(function.body)
    return HostFunction(
        reader.params, tuple(reader.temporaries), tuple(reader.bindings), tuple(reader.launches)
    )


class _SplitReader:
    """Reads the statements of a host function: names for sizes, buffers and other names for them, launches, no more."""

    def __init__(self, name: str, params: tuple[Any, ...]) -> None:
        self.name, self.params = name, params
        self.places = {param: place for place, param in enumerate(params)}
        self.bindings: list[tuple[Any, Any]] = []
        self.launches: list[DeviceLaunch] = []
        self.temporaries: list[Any] = []

    def read(self, statement: Any) -> None:
        if isinstance(statement, tirx.SeqStmt):
            for part in statement:
                self.read(part)
        elif isinstance(statement, tirx.Bind):
            self.bindings.append((statement.var, statement.value))
        elif isinstance(statement, tirx.DeclBuffer):
            self.places[statement.buffer] = self._place(statement.data)
        elif isinstance(statement, tirx.AllocBuffer):
            self.places[statement.buffer] = len(self.params) + len(self.temporaries)
            self.temporaries.append(_bytes(statement.buffer))
        elif isinstance(statement, tirx.Evaluate) and _operator(statement.value) == "tirx.call_ffi_kernel":
            self.launches.append(self._launch(statement.value))
        elif isinstance(statement, tirx.AttrStmt):
            self.read(statement.body)
        else:
            kind = type(statement).__name__
            raise BuildError(
                f"{self.name}: expected launches of kernels alone on the host, got {kind}; bind its loops to blocks "
                "and threads"
            )

    def _place(self, data: Any) -> int:
        """The parameter whose memory ``data`` points to."""
        if _operator(data) == "tirx.buffer_data" and data.args[0] in self.places:
            return self.places[data.args[0]]
        raise BuildError(f"{self.name}: expected the memory of a parameter, got {data}")

    def _launch(self, call: Any) -> DeviceLaunch:
        kernel, *rest = call.args
        tags = [str(tag) for tag in call.attrs.launch_params]
        given, tail = (
            rest[: len(rest) - len(tags)],
            dict(zip(tags, rest[len(rest) - len(tags) :], strict=True)),
        )
        unknown = set(tags) - {*_AXES, _SHARED}
        if unknown:
            raise BuildError(f"{self.name}: expected blocks and threads, got {sorted(unknown)}")
        arguments = tuple(
            TensorArgument(self._place(a)) if _operator(a) == "tirx.buffer_data" else a for a in given
        )
        extents = tuple(tail.get(axis, 1) for axis in _AXES)
        return DeviceLaunch(str(kernel.value), arguments, extents, tail.get(_SHARED, 0))


def _bytes(buffer: Any) -> Any:
    """The size of a buffer, as an expression."""
    size: Any = -(-int(tvm.DataType(str(buffer.dtype)).bits) // 8)
    for extent in buffer.shape:
        size = extent * size
    return size


def _operator(value: Any) -> str:
    return str(getattr(getattr(value, "op", None), "name", ""))
