"""Instructions made ready to be called: each a function, what fetches its arguments, and where the result goes."""

import importlib
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch._ops import OpOverload

from l0compile.errors import ArtifactError
from l0compile.ir.instructions import Code, Named, Slot, check_target
from l0compile.ir.ops.control_flow import CONTROL_FLOW
from l0compile.runtime.torch_kernels import own_function

BoundCall = tuple[Callable[..., Any], Callable[[list[Any]], Sequence[Any]], int, tuple[int, ...]]
"""(function, slots -> positional arguments, slot of the result, slots to empty afterwards)."""

_nn = torch._C._nn  # what torch.nn.functional is made of
# The same functions by PyTorch's own bindings, whose arguments are read several times faster than an overload's.
_BINDINGS: dict[str, Callable[..., Any]] = {
    "aten.add.Tensor": torch.add,
    "aten.sub.Tensor": torch.sub,
    "aten.mul.Tensor": torch.mul,
    "aten.div.Tensor": torch.div,
    "aten.neg.default": torch.neg,
    "aten.exp.default": torch.exp,
    "aten.rsqrt.default": torch.rsqrt,
    "aten.relu.default": torch.relu,
    "aten.tanh.default": torch.tanh,
    "aten.sigmoid.default": torch.sigmoid,
    "aten.gelu.default": _nn.gelu,
    "aten.silu.default": _nn.silu,
    "aten.linear.default": _nn.linear,
    "aten.matmul.default": torch.matmul,
    "aten.mm.default": torch.mm,
    "aten.bmm.default": torch.bmm,
    "aten.addmm.default": torch.addmm,
    "aten.softmax.int": torch.softmax,
    "aten.layer_norm.default": torch.layer_norm,
    "aten.cat.default": torch.cat,
    "aten.reshape.default": torch.reshape,
    "aten.transpose.int": torch.transpose,
    "aten.permute.default": torch.permute,
    "aten.unsqueeze.default": torch.unsqueeze,
    "aten.squeeze.dim": torch.squeeze,
    "aten.select.int": torch.select,
    "aten.unflatten.int": torch.unflatten,
    "aten.flatten.using_ints": torch.flatten,
    "aten.expand.default": torch.Tensor.expand,
    "aten.where.self": torch.where,
    "aten.gather.default": torch.gather,
    "aten.index_add.default": torch.index_add,
    "aten.index_select.default": torch.index_select,
    "aten.sym_size.int": torch.Tensor.size,
}


# Operators that PyTorch brings along, but registers only when a module of its own is imported.
_REGISTERED_BY = {"quantized_decomposed": "torch.ao.quantization.fx._decomposed"}


def bind(code: Code, kernels: Mapping[int, Any], slots: list[Any]) -> list[BoundCall]:
    """The calls that carry out ``code``; what they need besides its slots is appended to ``slots``.

    Args:
        kernels: instruction number -> (function, arguments) in place of the instruction's own.
    Raises: ArtifactError for an operator that may not be called, or that this PyTorch does not have.
    """
    calls: list[BoundCall] = []
    for number, instruction in enumerate(code.instructions):
        home = code.homes.get(instruction.target)
        function, args = kernels.get(number) or (resolve(instruction.target, home), instruction.args)
        function = function._op if isinstance(function, OpOverload) else function
        made: list[int] = []  # slots of lists that are put together for this call alone
        operands = [_operand(value, slots, calls, made) for value in args]
        if instruction.kwargs:
            names = tuple(instruction.kwargs)
            values = [_constant(value) for value in instruction.kwargs.values()]
            if _VARIES in values:
                operands += [_operand(v, slots, calls, made) for v in instruction.kwargs.values()]
                function = partial(_with_keywords, function, names)
            else:
                function = partial(function, **dict(zip(names, values, strict=True)))
        calls.append((function, _getter(operands), instruction.result, (*instruction.frees, *made)))
    return calls


def bind_outputs(code: Code, slots: list[Any]) -> Callable[[list[Any]], Sequence[Any]]:
    """What fetches the results of ``code``."""
    return _getter([_operand(value, slots, [], []) for value in code.outputs])


class Subroutine:
    """Code that control flow runs: flat arguments -> flat results."""

    def __init__(self, code: Code) -> None:
        """Raises ArtifactError as ``bind`` does."""
        self._slots: list[Any] = [None] * (code.inputs + len(code.instructions))
        self._calls = bind(code, {}, self._slots)
        self._outputs = bind_outputs(code, self._slots)

    def __call__(self, *inputs: Any) -> Sequence[Any]:
        slots = [*inputs, *self._slots[len(inputs) :]]
        carry_out(self._calls, slots)
        return self._outputs(slots)


def carry_out(calls: Sequence[BoundCall], slots: list[Any]) -> None:
    """Run ``calls`` in order on ``slots``."""
    for function, arguments, result, frees in calls:
        slots[result] = function(*arguments(slots))
        for number in frees:
            slots[number] = None


def resolve(target: str, home: str | None = None) -> Callable[..., Any]:
    """The function that ``target`` names; ``home``: the module that registered it when the code was written.

    Raises: ArtifactError when it may not be called, or is not there.
    """
    check_target(target)
    if target in _BINDINGS:
        return _BINDINGS[target]
    namespace, *rest = target.split(".")
    try:
        if namespace == "_operator":
            return getattr(operator, rest[0])
        if namespace == "torch":
            return getattr(torch, rest[0])
        if namespace == "math":
            return getattr(math, rest[0])
        if namespace == "flow":
            return CONTROL_FLOW[rest[0]]
        if namespace in _REGISTERED_BY:
            importlib.import_module(_REGISTERED_BY[namespace])
        overload = getattr(getattr(getattr(torch.ops, namespace), rest[0]), rest[1])
    except AttributeError as error:
        raise ArtifactError(_missing(target, namespace, home)) from error
    if not isinstance(overload, OpOverload):
        raise ArtifactError(_missing(target, namespace, home))
    if overload._schema.is_mutable:
        raise ArtifactError(
            f"load: operator {target} changes its arguments; l0compile never writes such code"
        )
    own = own_function(rest[0]) if namespace == "l0compile" else None
    return own or overload


def _missing(target: str, namespace: str, home: str | None) -> str:
    if namespace in ("aten", "prims", "l0compile"):
        return (
            f"load: operator {target} is not in PyTorch {torch.__version__}; load the model with the version it was "
            "compiled with, or compile it again"
        )
    package = (
        f"import {home}, which registered it" if home else f"import the package that registers {namespace!r}"
    )
    return (
        f"load: operator {target} is neither PyTorch's nor registered in this process; {package} when the model was "
        "compiled, before loading it"
    )


def _with_keywords(function: Callable[..., Any], names: tuple[str, ...], *args: Any) -> Any:
    positional = len(args) - len(names)
    return function(*args[:positional], **dict(zip(names, args[positional:], strict=True)))


def _listed(*items: Any) -> list[Any]:
    return list(items)


def _getter(numbers: Sequence[int]) -> Callable[[list[Any]], Sequence[Any]]:
    if not numbers:
        return lambda slots: ()
    # itemgetter of one index gives the item itself; of a slice, a list.
    return operator.itemgetter(*numbers) if len(numbers) > 1 else operator.itemgetter(
        slice(numbers[0], numbers[0] + 1)
    )  # fmt: skip


def _operand(value: Any, slots: list[Any], calls: list[BoundCall], made: list[int]) -> int:
    """The slot that an argument is fetched from: its own, a new one for a constant, or one that a call fills."""
    if isinstance(value, Slot):
        return value.number
    constant = _constant(value)
    slots.append(None if constant is _VARIES else constant)
    number = len(slots) - 1
    if constant is _VARIES:
        items = [_operand(item, slots, calls, made) for item in value]
        calls.append((_listed, _getter(items), number, ()))
        made.append(number)
    return number


_VARIES = object()


def _constant(value: Any) -> Any:
    """The value of an argument that reads no slot, else ``_VARIES``."""
    if isinstance(value, Code):
        return Subroutine(value)
    if isinstance(value, Named):
        return torch.device(value.name) if value.kind == "device" else getattr(torch, value.name)
    if isinstance(value, Slot):
        return _VARIES
    if isinstance(value, tuple):
        items = [_constant(item) for item in value]
        return _VARIES if any(item is _VARIES for item in items) else items
    return value
