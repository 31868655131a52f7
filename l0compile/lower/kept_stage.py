"""Whole stages kept on disk: what was built for a program before is found without TVM's compiler.

The key of a stage is a hash of all that its machine code depends on: the graph without the numbers in its constants,
the schedules, the tile, the target, the code of l0compile and TVM, and for a GPU NVIDIA's compiler. Weights are no part
of it, so a model that was trained on finds the code of its last state.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx

import l0compile
from l0compile.hardware._tvm_runtime import VERSIONS
from l0compile.hardware.costs import Costs
from l0compile.hardware.targets import Target
from l0compile.ir.nodes import example_size, expression
from l0compile.ir.program import Program
from l0compile.kernels import TokenTile, kernel_call, kind_of
from l0compile.kernels.cuda.toolchain import compiler_stamp
from l0compile.lower.workloads import schedule_for

_CODE = ("hardware", "ir", "kernels", "lower")  # whose text decides what is generated for a program


@dataclass(frozen=True)
class KeptStage:
    """What is kept of a stage.

    Attributes:
        library: The content of a shared library.
        functions: Node -> name of the function that launches its kernel, in the order of running.
        plain: Names of the functions that no schedule rule could change.
    """

    library: bytes
    functions: dict[str, str]
    plain: tuple[str, ...]

    def content(self) -> bytes:
        """Return all of it as one file: a line of JSON, then the library."""
        facts = {"functions": self.functions, "plain": self.plain}
        return json.dumps(facts).encode() + b"\n" + self.library

    @classmethod
    def of(cls, content: bytes) -> "KeptStage":
        """Read what ``content`` gave."""
        head, _, library = content.partition(b"\n")
        facts = json.loads(head)
        return cls(library, facts["functions"], tuple(facts["plain"]))


def stage_key(packed: Program, target: Target, machine: TokenTile | Target, costs: Costs | None) -> str:
    """Return the key of the stage that a packed program becomes."""
    lines = [*VERSIONS, _code(), repr(target), repr(machine), repr(dict(packed.symbols))]
    if target.kind == "cuda":
        lines.append(compiler_stamp())
    lines += (_line(node, packed, machine, costs) for node in packed.graph.nodes)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _line(node: fx.Node, packed: Program, machine: TokenTile | Target, costs: Costs | None) -> str:
    parts = [node.op, node.name, _shown(node.target), _shown(node.args), _shown(dict(node.kwargs))]
    parts.append(_shown(node.meta.get("val")))
    if node.op == "placeholder":
        value = node.meta["val"]
        parts.append(
            str([example_size(size) for size in value.shape]) if isinstance(value, torch.Tensor) else ""
        )
    call = kernel_call(node, kind_of(machine)) if node.op == "call_function" else None
    if call is not None:
        parts += [repr(call.spec), repr(schedule_for(node, call, machine, costs))]
    return "\t".join(parts)


def _shown(value: Any) -> str:
    """Return a text that differs where code generation could."""
    if isinstance(value, fx.Node):
        return f"%{value.name}"
    if isinstance(value, torch.Tensor):
        sizes = [str(expression(size)) for size in (*value.shape, *value.stride())]
        return f"{value.dtype}{sizes}"
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        return f"{type(value).__name__} {value.node.expr}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_shown(part)}' for key, part in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(_shown, value))})"
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', value)}"
    return repr(value)


@functools.cache
def _code() -> str:
    """Return a hash of the code that turns programs into machine code."""
    found = hashlib.sha256()
    package = Path(str(l0compile.__file__)).parent
    for path in _files(package):
        found.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return found.hexdigest()


def _files(package: Path) -> Iterator[Path]:
    for step in _CODE:
        yield from sorted(path for kind in ("*.py", "*.c") for path in (package / step).rglob(kind))
