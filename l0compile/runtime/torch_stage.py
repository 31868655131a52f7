"""A stage that PyTorch runs: instructions carried out one by one."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import l0compile.ops  # noqa: F401  registers the operators
from l0compile.errors import ArtifactError
from l0compile.instructions import Code, Instruction, Named, Slot, check_target
from l0compile.runtime.prepacked import prepack
from l0compile.runtime.threads import stop_spinning, torch_threads
from l0compile.runtime.torch_kernels import own_function


class TorchStage:
    """Carries out ``code`` on ``constants``.

    Dense layers with constant weights run in oneDNN on weights packed here, once; the plain weight is then dropped.
    """

    def __init__(
        self, code: Code, constants: Mapping[str, Tensor], threads: int | None = None, pauses: bool = False
    ) -> None:
        """``threads``: of PyTorch while the stage runs; None leaves the process's own number.
        ``pauses``: TVM runs next, so PyTorch's other threads are not left spinning.

        Raises: ArtifactError for an operator that this PyTorch does not have.
        """
        self.code, self.threads, self.pauses = code, threads, pauses
        plain = {name: constants[name] for name in code.constants}
        self._packed = prepack(code, plain)
        self._plain = {name: t for name, t in plain.items() if name not in self._packed.originals}
        fixed = [self._plain.get(name) for name in code.constants]
        self._slots: list[Any] = [None] * code.inputs + fixed + [None] * len(code.instructions)
        self._steps = [
            _step(i, self._packed.kernels.get(number)) for number, i in enumerate(code.instructions)
        ]
        self._outputs = _resolver(code.outputs)
        self._owned = {t.untyped_storage().data_ptr() for t in self._plain.values()}

    @property
    def constants(self) -> dict[str, Tensor]:
        """The constants by name; packed ones are unpacked for this call."""
        unpacked = {name: unpack() for name, unpack in self._packed.originals.items()}
        return {
            name: self._plain[name] if name in self._plain else unpacked[name] for name in self.code.constants
        }

    def __call__(self, inputs: Sequence[Tensor]) -> list[Any]:
        """Outputs for ``inputs``; a result that is an input, or part of a constant, is a copy."""
        slots = list(self._slots)
        slots[: len(inputs)] = inputs
        with torch_threads(self.threads), torch.no_grad():
            for function, (args, kwargs), result, frees in self._steps:
                slots[result] = function(*args(slots), **kwargs(slots))
                for number in frees:
                    slots[number] = None
        if self.pauses and self.threads != 1:
            stop_spinning()
        taken = self._owned | {t.untyped_storage().data_ptr() for t in inputs}
        return [_own(value, taken) for value in self._outputs(slots)]


def _own(value: Any, taken: set[int]) -> Any:
    if isinstance(value, Tensor) and value.untyped_storage().data_ptr() in taken:
        return value.clone(memory_format=torch.contiguous_format)
    return value


def _step(instruction: Instruction, kernel: Any) -> Any:
    if kernel is not None:
        function, args = kernel
    else:
        function, args = resolve(instruction.target), instruction.args
    arguments = _resolver(args), _mapping(instruction.kwargs)
    return function, arguments, instruction.result, instruction.frees


def resolve(target: str) -> Callable[..., Any]:
    """The function that ``target`` names. Raises ArtifactError when it may not be called, or is not there."""
    check_target(target)
    namespace, *rest = target.split(".")
    try:
        if namespace == "_operator":
            return getattr(operator, rest[0])
        if namespace == "torch":
            return getattr(torch, rest[0])
        overload = getattr(getattr(getattr(torch.ops, namespace), rest[0]), rest[1])
    except AttributeError as error:
        raise ArtifactError(
            f"load: operator {target} is not in PyTorch {torch.__version__}; load the model with the version it was "
            "compiled with, or compile it again"
        ) from error
    if overload._schema.is_mutable:
        raise ArtifactError(
            f"load: operator {target} changes its arguments; l0compile never writes such code"
        )
    own = own_function(rest[0]) if namespace == "l0compile" else None
    return own or overload


def _mapping(kwargs: Mapping[str, Any]) -> Callable[[list[Any]], dict[str, Any]]:
    if not kwargs:
        empty: dict[str, Any] = {}
        return lambda slots: empty
    resolvers = {name: _value(value) for name, value in kwargs.items()}
    return lambda slots: {name: resolver(slots) for name, resolver in resolvers.items()}


def _resolver(values: Sequence[Any]) -> Callable[[list[Any]], list[Any]]:
    """A function from slots to the list of values; what does not come from a slot is looked up once, here."""
    fixed = [None if isinstance(value, Slot) else _constant(value) for value in values]
    moved = [(i, value.number) for i, value in enumerate(values) if isinstance(value, Slot)]
    nested = [(i, _value(value)) for i, value in enumerate(values) if fixed[i] is _VARIES]

    def arguments(slots: list[Any]) -> list[Any]:
        result = fixed.copy()
        for position, number in moved:
            result[position] = slots[number]
        for position, resolver in nested:
            result[position] = resolver(slots)
        return result

    return arguments


_VARIES = object()


def _constant(value: Any) -> Any:
    """The value of an argument that reads no slot, else ``_VARIES``."""
    if isinstance(value, Named):
        return torch.device(value.name) if value.kind == "device" else getattr(torch, value.name)
    if isinstance(value, Slot):
        return _VARIES
    if isinstance(value, tuple):
        items = [_constant(item) for item in value]
        return _VARIES if any(item is _VARIES for item in items) else items
    return value


def _value(value: Any) -> Callable[[list[Any]], Any]:
    if isinstance(value, Slot):
        number = value.number
        return lambda slots: slots[number]
    constant = _constant(value)
    if constant is _VARIES:
        return _resolver(value)
    return lambda slots: constant
