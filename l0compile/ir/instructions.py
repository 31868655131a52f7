"""Code for PyTorch as plain data: the operators of a graph in order, on numbered slots.

It can be written as JSON and names operators, so that an artifact contains no Python code. Arguments of an
``Instruction`` are numbers, texts, None, lists of these, ``Slot``, ``Named``, and ``Code`` for what control flow runs.

For an operator from outside PyTorch (``torch.library``) the code has only the name: the process that loads it runs what
it has registered under that name.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from l0compile.errors import ArtifactError
from l0compile.ir.codec import Natural, decode

# Only the arithmetic of Python's operator module, which also has functions that call others.
OPERATORS = frozenset({
    "getitem", "add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "abs", "eq", "ne", "lt", "le", "gt",
    "ge", "and_", "or_", "not_", "xor", "invert",
})  # fmt: skip
SIZE_FUNCTIONS = frozenset({
    "sym_max", "sym_min", "sym_float", "sym_int", "sym_not", "sym_ite", "sym_sum", "_sym_sqrt",
})  # fmt: skip
ROUNDINGS = frozenset({"trunc", "floor", "ceil"})  # of Python's math module
FLOW = frozenset({"cond", "while_loop", "map", "scan"})
_OPERATOR = re.compile(r"(?!__)[A-Za-z_]\w*\.[A-Za-z_]\w*\.[A-Za-z_]\w*")
# Operators of PyTorch that read files, or touch memory outside their arguments, other processes or this one's state.
_REFUSED = re.compile(
    r"(aten\.from_file|(inductor|profiler|symm_mem|static_runtime|export|_test|debugprims|debug_mode_ops|_?c10d\w*"
    r"|fsdp|rpc|streams|_dtensor)\.)"
)


_WHERE = "load: a list of PyTorch operators"


@dataclass(frozen=True)
class Slot:
    """The value that an input, a constant or an earlier instruction has put in slot ``number``."""

    number: int


@dataclass(frozen=True)
class Named:
    """A torch object without a JSON form: ``kind`` is dtype, device, layout or memory_format."""

    kind: str
    name: str


@dataclass(frozen=True)
class Instruction:
    """One call.

    Attributes:
        target: ``aten.cumsum.default``, ``l0compile.dense_linear.default``, ``_operator.getitem``, ``torch.sym_max``,
            ``flow.cond``.
        args, kwargs: its arguments.
        result: the slot that gets the value.
        frees: slots that no later instruction reads.
    """

    target: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: int
    frees: tuple[int, ...]


@dataclass(frozen=True)
class Code:
    """A straight-line program. The first slots hold the inputs, the next ones the constants, then come results.

    Attributes:
        inputs: the number of inputs.
        constants: their names, in the order of their slots.
        instructions: in the order of running.
        outputs: an argument for each result.
        homes: operator from outside PyTorch -> the Python module that registers it, where that is known.
    """

    inputs: int
    constants: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Any, ...]
    homes: Mapping[str, str] = field(default_factory=dict)

    def constant(self, argument: Any) -> str | None:
        """The name of the constant that an argument of an instruction stands for; None for any other argument."""
        number = argument.number - self.inputs if isinstance(argument, Slot) else -1
        return self.constants[number] if 0 <= number < len(self.constants) else None

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        listed = [
            [i.target, _dump(i.args), {k: _dump(v) for k, v in i.kwargs.items()}, i.result, list(i.frees)]
            for i in self.instructions
        ]
        return {
            "inputs": self.inputs,
            "constants": list(self.constants),
            "instructions": listed,
            "outputs": _dump(self.outputs),
            **({"homes": dict(self.homes)} if self.homes else {}),
        }

    @classmethod
    def from_json(cls, record: Any) -> "Code":
        """Return the code that ``to_json`` wrote.

        Raises:
            ArtifactError: it is malformed, or names something else than an operator without effects.
        """
        stored = decode(record, _StoredCode, _WHERE, ArtifactError, advice="save the model again")
        instructions = tuple(
            Instruction(target, _load(args), {k: _load(v) for k, v in kwargs.items()}, result, frees)
            for target, args, kwargs, result, frees in stored.instructions
        )
        for instruction in instructions:
            check_target(instruction.target)
        return cls(stored.inputs, stored.constants, instructions, _load(stored.outputs), stored.homes)


@dataclass(frozen=True)
class _StoredCode:
    """``Code`` in JSON. An instruction is a list of its fields; its target is looked at by ``check_target``."""

    inputs: Natural
    constants: tuple[str, ...]
    instructions: tuple[tuple[Any, list[Any], dict[str, Any], Natural, tuple[Natural, ...]], ...]
    outputs: list[Any]
    homes: dict[str, str] = field(default_factory=dict)


def check_target(target: Any) -> None:
    """Check that ``target`` names an operator that code may call.

    Raises:
        ArtifactError: it does not.
    """
    parts = target.split(".") if isinstance(target, str) else []
    allowed = len(parts) == 3 and bool(_OPERATOR.fullmatch(target)) and not _REFUSED.match(target)
    allowed |= len(parts) == 2 and parts[0] == "flow" and parts[1] in FLOW
    allowed |= len(parts) == 2 and parts[0] == "_operator" and parts[1] in OPERATORS
    allowed |= len(parts) == 2 and parts[0] == "torch" and parts[1] in SIZE_FUNCTIONS
    allowed |= len(parts) == 2 and parts[0] == "math" and parts[1] in ROUNDINGS
    if not allowed:
        raise ArtifactError(
            f"load: expected the name of an operator without effects, got {target!r}; "
            "this is not an artifact that l0compile wrote: do not use it"
        )


def slots_of(value: Any) -> list[int]:
    """The slots that an argument reads, nested lists included."""
    if isinstance(value, Slot):
        return [value.number]
    if isinstance(value, Mapping):
        return [number for item in value.values() for number in slots_of(item)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [number for item in value for number in slots_of(item)]
    return []


def _dump(value: Any) -> Any:
    if isinstance(value, Slot):
        return {"slot": value.number}
    if isinstance(value, Named):
        return {value.kind: value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, Code):
        return {"code": value.to_json()}
    if isinstance(value, list | tuple):
        return [_dump(item) for item in value]
    return value


_ARGUMENTS: dict[str, Any] = {
    "slot": Natural, "float": Literal["inf", "-inf", "nan"], "complex": tuple[float, float], "code": dict[str, Any],
    "dtype": str, "device": str, "layout": str, "memory_format": str,
}  # fmt: skip
"""The kinds of arguments that are no JSON values by themselves, each with what stands for it."""


def _load(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_load(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = next(iter(value), "")
    if len(value) != 1 or kind not in _ARGUMENTS:
        raise ArtifactError(
            f"{_WHERE}: expected an argument of one of the kinds {', '.join(_ARGUMENTS)}, got {value!r}"
        )
    content = decode(value[kind], _ARGUMENTS[kind], _WHERE, ArtifactError, path=kind)
    match kind:
        case "slot":
            return Slot(content)
        case "code":
            return Code.from_json(content)
        case "float":
            return float(content)
        case "complex":
            return complex(*content)
    return Named(kind, content)
