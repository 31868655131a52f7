"""relax ``main`` -> C: where each value lies in memory, and the launches that make it, in order.

The C has four functions. ``l0_workspace(sizes)`` is the bytes of all values in between; ``l0_shapes(sizes, shapes)``
writes the shapes of the results, one after another; ``l0_run(host, sizes, workspace, inputs, results)`` launches the
kernels; ``l0_facts()`` describes the rest as JSON. ``sizes`` are the symbols of the program, which the facts say how to
read off the inputs.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l0compile.errors import BuildError
from l0compile.hardware._tvm import relax, tirx, tvm
from l0compile.lower.cuda.device_code import DeviceCode, DeviceLaunch, HostFunction, TensorArgument
from l0compile.lower.cuda.expressions import c_expression

_ROUTINES = Path(__file__).with_name("host.c")
_NAMES = ("sizes", "workspace", "inputs", "results", "end")  # which a program need not use


def host_code(main: Any, device: DeviceCode) -> str:
    """The C source of a program.

    Args:
        main: the result of ``plan_memory``: allocations, other names, and calls of the functions of ``device``.
        device: the kernels.

    Raises:
        BuildError: a size does not follow from the inputs, or ``main`` does more than call kernels.
    """
    writer = _HostWriter(main, device)
    writer.write()
    run, sizes = (
        writer.lines,
        [f"  const int64_t {name} = sizes[{n}];" for n, name in enumerate(writer.sizes)],
    )
    return "\n".join([
        _ROUTINES.read_text(),
        f"static const char facts[] = {json.dumps(json.dumps(writer.facts()))};",
        "const char *l0_facts(void) { return facts; }",
        "int64_t l0_workspace(const int64_t *sizes) {", *sizes, "  (void)sizes;", *writer.offsets(),
        "  return end;", "}",
        "void l0_shapes(const int64_t *sizes, int64_t *shapes) {", *sizes, "  (void)sizes; (void)shapes;",
        *writer.shapes(), "}",
        "int l0_run(Host *host, const int64_t *sizes, char *workspace, void **inputs, void **results) {", *sizes,
        "  int error = 0;", *writer.offsets(), *(f"  (void){name};" for name in _NAMES), *run, "  return error;",
        "}", "",
    ])  # fmt: skip


@dataclass
class _HostWriter:
    main: Any
    device: DeviceCode
    lines: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernels = list(self.device.parameters)
        self.symbols: dict[Any, str] = {}  # variable -> its name in C
        self.places: list[tuple[int, int]] = []  # of each symbol: the input and its axis
        self.values: dict[Any, str] = {}  # relax variable -> a pointer in C
        self.blocks: list[str] = []  # bytes of each block of memory, in C
        self.scratch: list[list[str]] = []  # bytes that each call needs of each block that all of them share
        self.numbers: dict[Any, int] = {}  # relax variable of a block -> its number
        self.constants: list[dict[str, Any]] = []
        self.results: list[Any] = []
        self.copies: list[list[Any] | None] = []  # of each result
        for place, param in enumerate(self.main.params):
            self.values[param] = f"inputs[{place}]"
            for axis, size in enumerate(param.ty.shape.values):
                if isinstance(size, tirx.Var) and size not in self.symbols:
                    self.symbols[size] = f"n{len(self.sizes)}"
                    self.sizes.append(self.symbols[size])
                    self.places.append((place, axis))

    def write(self) -> None:
        bindings = [binding for block in self.main.body.blocks for binding in block.bindings]
        made = self._results(bindings)
        for binding in bindings:
            if binding.var not in made:
                self._bind(binding)

    def _results(self, bindings: Sequence[Any]) -> set[Any]:
        """Give the results their memory first, since values that other names stand for are made in it."""
        aliases = {b.var: b.value for b in bindings if isinstance(b.value, relax.Var)}
        aliases |= {b.var: b.value.args[0] for b in bindings if _name(b.value) == "relax.reshape"}
        last = self.main.body.body
        tuples = {b.var: b.value for b in bindings if isinstance(b.value, relax.Tuple)}
        self.results = list(tuples.get(last, last).fields)
        made: set[Any] = set()
        for place, result in enumerate(self.results):
            root = result
            while root in aliases:
                root = aliases[root]
            self.copies.append(self._copied(root))
            if self.copies[-1] is None:
                self.values[root] = f"results[{place}]"
                made.add(root)
        return made

    def _copied(self, root: Any) -> list[Any] | None:
        """What a result is a copy of, because nobody makes it or another result is it already; else None."""
        found = self.values.get(root)
        if found is None and not isinstance(root, tvm.ir.GenericConst):
            return None
        source, place = (found or self._pointer(root)).removesuffix("]").split("[")
        return [source, int(place)]

    def _bind(self, binding: Any) -> None:
        value, name = binding.value, _name(binding.value)
        if name == "relax.memory.alloc_storage":
            self.numbers[binding.var] = len(self.blocks)
            self.blocks.append(c_expression(value.args[0].values[0], self.symbols))
        elif name == "relax.memory.alloc_tensor":
            self.values[binding.var] = f"(workspace + o{self.numbers[value.args[0]]})"
        elif name == "relax.reshape":
            self.values[binding.var] = self._pointer(value.args[0])
        elif isinstance(value, relax.Var) and value in self.values:
            self.values[binding.var] = self.values[value]
        elif isinstance(value, relax.Tuple):
            return
        elif isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar):
            self._call(str(value.op.name_hint), list(value.args))
        else:
            raise BuildError(f"host code: expected launches, memory and other names for it, got {value}")

    def _pointer(self, value: Any) -> str:
        if isinstance(value, tvm.ir.GenericConst):
            array = value.value.numpy()
            self.constants.append({
                "dtype": str(value.ty.dtype.dtype), "shape": list(array.shape), "bytes": array.tobytes().hex(),
            })  # fmt: skip
            return f"inputs[{len(self.main.params) + len(self.constants) - 1}]"
        return self.values[value]

    def _call(self, function: str, args: list[Any]) -> None:
        host = self.device.functions[function]
        names = self._names(host, args)
        self.lines.append("  {")
        for number, (variable, value) in enumerate(host.bindings):
            self.lines.append(f"    const int64_t v{number} = {c_expression(value, names)};")
            names[variable] = f"v{number}"
        pointers = {place: self._pointer(arg) for place, arg in enumerate(args) if _is_tensor(arg)}
        for number, size in enumerate(self._temporaries(host, args)):
            if number == len(self.scratch):
                self.scratch.append([])
            self.scratch[number].append(size)
            pointers[len(args) + number] = f"(workspace + t{number})"
        for launch in host.launches:
            self._launch(launch, pointers, names)
        self.lines.append("  }")

    def _temporaries(self, host: HostFunction, args: Sequence[Any]) -> list[str]:
        """Bytes of what the kernels of a function pass on, in the symbols of the program alone.

        It is not read after the call, and calls follow one another on the stream, so all of them share this memory.
        """
        names = self._names(host, args)
        for variable, value in host.bindings if host.temporaries else ():
            names[variable] = c_expression(value, names)
        return [c_expression(size, names) for size in host.temporaries]

    def _names(self, host: HostFunction, args: Sequence[Any]) -> dict[Any, str]:
        """The sizes that a function knows by names of its own -> expressions of the program's symbols."""
        found: dict[Any, str] = {}
        for param, arg in zip(host.params, args, strict=True):
            if not _is_tensor(arg):
                found[param] = f"(int64_t){c_expression(arg, self.symbols)}"
                continue
            for own, size in zip(param.ty.shape, arg.ty.shape.values, strict=True):
                if isinstance(own, tirx.Var) and own not in found:
                    found[own] = c_expression(size, self.symbols)
        return found

    def _launch(self, launch: DeviceLaunch, pointers: Mapping[int, str], names: Mapping[Any, str]) -> None:
        types = self.device.parameters[launch.kernel]
        own = []
        for number, (kind, argument) in enumerate(zip(types, launch.arguments, strict=True)):
            if isinstance(argument, TensorArgument):
                own.append(f"void *a{number} = {pointers[argument.place]};")
            else:
                own.append(f"{kind} a{number} = {c_expression(argument, names)};")
        addresses = ", ".join(f"&a{number}" for number in range(len(own)))
        extents = ", ".join(c_expression(extent, names) for extent in launch.extents)
        place, shared = self.kernels.index(launch.kernel), c_expression(launch.shared, names)
        self.lines += [
            "    {",
            *(f"      {line}" for line in own),
            f"      void *arguments[] = {{{addresses}}};",
            f"      const int64_t extents[] = {{{extents}}};",
            f"      if ((error = l0_launch(host, {place}, extents, {shared}, arguments))) return error;",
            "    }",
        ]

    def offsets(self) -> list[str]:
        lines = ["  int64_t end = 0;"]
        for number, size in enumerate(self.blocks):
            lines.append(f"  const int64_t o{number} = end; (void)o{number}; end += l0_aligned({size});")
        for number, sizes in enumerate(self.scratch):
            most = functools.reduce(lambda one, other: f"l0_max({one}, {other})", dict.fromkeys(sizes))
            lines.append(f"  const int64_t t{number} = end; (void)t{number}; end += l0_aligned({most});")
        return lines

    def shapes(self) -> list[str]:
        sizes = [size for result in self.results for size in result.ty.shape.values]
        return [f"  shapes[{n}] = {c_expression(size, self.symbols)};" for n, size in enumerate(sizes)]

    def facts(self) -> dict[str, Any]:
        results = [
            {"dtype": str(result.ty.dtype.dtype), "rank": len(result.ty.shape.values), "copy": copy}
            for result, copy in zip(self.results, self.copies, strict=True)
        ]
        own = {
            launch.kernel: (function, number)
            for function, host in self.device.functions.items()
            for number, launch in enumerate(host.launches)
        }
        kernels = [
            {
                "name": name, "parameters": list(self.device.parameters[name]), "function": own[name][0],
                "number": own[name][1],
            }
            for name in self.kernels
        ]  # fmt: skip
        return {"kernels": kernels, "sizes": self.places, "results": results, "constants": self.constants}


def _name(value: Any) -> str:
    return str(getattr(getattr(value, "op", None), "name", ""))


def _is_tensor(value: Any) -> bool:
    return isinstance(getattr(value, "ty", None), relax.TensorType)
