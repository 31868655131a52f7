"""The launches of a function, read off its host side.

TVM 0.27 splits a function by its pass ``tirx.SplitHostDevice``. What is left on the host calls each kernel by
``call_ffi_kernel(name, arguments..., extents...)``; which extent is which, and whether the last one is the bytes of
dynamic shared memory, stands in the kernel's attribute ``tirx.kernel_launch_params``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from l0compile.errors import BuildError
from l0compile.hardware._tvm import tirx, tvm


@dataclass(frozen=True)
class HostCall:
    """A launch in terms of the function's symbolic sizes.

    Attributes:
        kernel: its name.
        arguments: names of buffers (``str``), or expressions.
        extents: ``"blockIdx.x"`` and so on, or ``"tirx.use_dyn_shared_memory"`` -> expression.
    """

    kernel: str
    arguments: tuple[Any, ...]
    extents: Mapping[str, Any]


class HostReader:
    """Reads the statements of a host function."""

    def __init__(self, host: Any, kernels: Mapping[str, list[str]]) -> None:
        self._host, self._kernels = host, kernels
        self._names = [(one, one.name) for one in host.params if hasattr(one, "shape")]
        self.bound: dict[str, Any] = {}
        self.workspaces: dict[str, Any] = {}

    def calls(self) -> Iterator[HostCall]:
        yield from self._read(self._host.body)

    def _read(self, statement: Any) -> Iterator[HostCall]:
        if isinstance(statement, tirx.SeqStmt):
            for one in statement.seq:
                yield from self._read(one)
        elif isinstance(statement, tirx.Bind):
            self.bound[statement.var.name] = statement.value
        elif isinstance(statement, tirx.DeclBuffer):
            self._names.append((statement.buffer, self._name(statement.data)))
        elif isinstance(statement, tirx.AllocBuffer):
            name = f"workspace {len(self.workspaces)}"
            self.workspaces[name] = statement.buffer
            self._names.append((statement.buffer, name))
        elif isinstance(statement, tirx.AttrStmt):
            yield from self._read(statement.body)
        elif isinstance(statement, tirx.Evaluate) and isinstance(statement.value, tvm.ir.Call):
            yield self._call(statement.value)
        elif not isinstance(statement, tirx.Evaluate):
            raise BuildError(
                f"host side of a CUDA function: expected launches only, got {type(statement).__name__}"
            )

    def _call(self, call: Any) -> HostCall:
        if call.op.name != "tirx.call_ffi_kernel":
            raise BuildError(f"host side of a CUDA function: expected the launch of a kernel, got {call}")
        kernel, *arguments = call.args
        names = self._kernels[kernel.value]
        count = len(arguments) - len(names)
        return HostCall(
            kernel.value,
            tuple(self._name(one) or one for one in arguments[:count]),
            dict(zip(names, arguments[count:], strict=True)),
        )

    def _name(self, expression: Any) -> str:
        """Return the name of the buffer whose data ``expression`` is, or ""."""
        if not isinstance(expression, tvm.ir.Call) or expression.op.name != "tirx.buffer_data":
            return ""
        return next(name for buffer, name in self._names if buffer.same_as(expression.args[0]))
