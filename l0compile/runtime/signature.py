"""The calling convention of a compiled model: every call is checked against it before a kernel runs."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from l0compile.errors import InputError
from l0compile.ir.conditions import Condition, holds, show
from l0compile.ir.structure import Structure
from l0compile.ir.tensors import ORDINARY_TYPES, oddity, resolved
from l0compile.runtime.parameters import Parameters

_ORDINARY_TYPES = frozenset(ORDINARY_TYPES)
_REMEMBERED = 256  # kinds of calls; a server pads to few sizes

Dim = int | str  # a fixed size, or the name of a size symbol


@dataclass(frozen=True)
class InputSpec:
    """One flat tensor input.

    Attributes:
        name: as in the model's forward.
        dtype: name of the torch dtype (``int64``).
        shape: per axis a size, a symbol, or ``"?"`` for a derived size.
        below: every element must lie in [0, below) because it indexes a table; None: any may come.
        example: shape of the example at compile time, for making up inputs of a likely size.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]
    below: int | None = None
    example: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Derived:
    """A dimension of an input of size ``factor * symbol + offset``, where no dimension is the symbol itself."""

    input: int
    axis: int
    symbol: str
    factor: int
    offset: int

    def value(self, size: int) -> int | None:
        """Return the symbol's value for a size of the dimension; None if there is none."""
        quotient, rest = divmod(size - self.offset, self.factor)
        return None if rest else quotient

    def show(self, label: str) -> str:
        """Return the size as text."""
        return f"{self.factor}*{label}" + (f" + {self.offset}" if self.offset else "")


@dataclass(frozen=True)
class Signature:
    """What a model takes and returns.

    Attributes:
        inputs: flat inputs.
        outputs: flat results.
        symbols: size symbol -> least and largest size; None: no limit.
        labels: size symbol -> the user's name for it.
        in_spec: structure of (args, kwargs).
        out_spec: structure of the result.
        conditions: relations between sizes.
        derived: dimensions that follow from a symbol.
        parameters: names that arguments may be given by.
        state: buffers that calls change, by their names in the model.
        on_device: inputs are in the memory of a device, where their values are not looked at.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[InputSpec, ...]
    symbols: Mapping[str, tuple[int, int | None]]
    labels: Mapping[str, str]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec
    conditions: tuple[Condition, ...] = ()
    derived: tuple[Derived, ...] = ()
    parameters: Parameters = field(default_factory=Parameters)
    state: tuple[InputSpec, ...] = ()
    on_device: bool = False

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
        """Return the checked flat inputs of a call.

        Raises:
            InputError: names the input, what was expected and what came.
        """
        leaves = self._leaves(args, kwargs)
        kinds = _kinds(leaves)
        if kinds is None or kinds not in self._accepted:
            leaves = self._checked(leaves, kinds)
        for number in self._indexing:
            check_values(self.inputs[number], leaves[number])
        return leaves

    def _checked(self, leaves: Sequence[Any], kinds: tuple[Any, ...] | None) -> list[Tensor]:
        """Return ``leaves`` as ordinary tensors, and remember ``kinds`` if they were ordinary already."""
        plain = [
            _ordinary(spec, leaf, self.on_device) for spec, leaf in zip(self.inputs, leaves, strict=True)
        ]
        self._check(plain)
        if (
            kinds is not None
            and all(map(operator.is_, plain, leaves))
            and not any(t.is_complex() for t in plain)
        ):
            if len(self._accepted) >= _REMEMBERED:
                self._accepted.clear()
            self._accepted.add(kinds)
        return plain

    def _check(self, leaves: Sequence[Any]) -> None:
        """Check all that depends on shapes and dtypes alone."""
        sizes: dict[str, tuple[int, str]] = {}
        for spec, leaf in zip(self.inputs, leaves, strict=True):
            check_tensor(spec, leaf)
            for axis, (want, got) in enumerate(zip(spec.shape, leaf.shape, strict=True)):
                self._check_size(spec, axis, want, int(got), sizes)
        self._check_derived(leaves, sizes)
        self._check_conditions({symbol: size for symbol, (size, _) in sizes.items()})

    def unflatten(self, results: list[Tensor], inputs: Sequence[Tensor]) -> Any:
        """Return the result in the model's own structure; sizes in it follow from the flat ``inputs``."""
        if not self._result.has_sizes:
            return self._result.unflatten(results, {})
        shapes = [(spec.shape, leaf.shape) for spec, leaf in zip(self.inputs, inputs, strict=True)]
        sizes = {str(want): got for wanted, given in shapes for want, got in zip(wanted, given, strict=True)}
        for derived in self.derived:
            sizes[derived.symbol] = derived.value(inputs[derived.input].shape[derived.axis]) or 0
        return self._result.unflatten(results, sizes)

    @cached_property
    def _accepted(self) -> set[tuple[Any, ...]]:
        """The kinds of calls whose tensors were right and ordinary."""
        return set()

    @cached_property
    def _indexing(self) -> list[int]:
        """The inputs whose values are checked at every call. On a device that would wait for all work before the call;
        kernels do not read past the end of a table in any case.
        """
        if self.on_device:
            return []
        return [number for number, spec in enumerate(self.inputs) if spec.below is not None]

    @cached_property
    def _call(self) -> Structure:
        return Structure(self.in_spec)

    @cached_property
    def _result(self) -> Structure:
        return Structure(self.out_spec)

    def _leaves(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        leaves = self._call.flatten(args, kwargs)
        if leaves is None and self.parameters.items:
            leaves = self._call.flatten(*self.parameters.arranged(args, kwargs, self._call.plain))
        if leaves is None:
            names = ", ".join(i.name for i in self.inputs)
            raise InputError(
                f"inputs: expected {len(self.inputs)} tensors ({names}) passed as at compile time, "
                f"got {len(args)} positional and {sorted(kwargs) or 'no'} keyword arguments; call it like the example"
            )
        return leaves

    def _check_size(
        self, spec: InputSpec, axis: int, want: Dim, got: int, sizes: dict[str, tuple[int, str]]
    ) -> None:
        if isinstance(want, int):
            if want != got:
                raise InputError(
                    f"{spec.name}: expected shape {self._show(spec)}, got size {got} at axis {axis}; "
                    "compile with dynamic_shapes to vary it"
                )
            return
        if want == "?":
            return
        low, high = self.symbols.get(want, (1, None))
        label = self.labels.get(want, want)
        if got < low or (high is not None and got > high):
            limit = f"{low} or more" if high is None else f"{low} to {high}"
            raise InputError(f"{spec.name}: expected {label} (axis {axis}) of {limit}, got {got}")
        seen, where = sizes.setdefault(want, (got, spec.name))
        if seen != got:
            raise InputError(
                f"{spec.name}: expected {label} (axis {axis}) to be {seen} as in {where}, got {got}"
            )

    def _check_derived(self, leaves: Sequence[Tensor], sizes: dict[str, tuple[int, str]]) -> None:
        for derived in self.derived:
            spec, got = self.inputs[derived.input], int(leaves[derived.input].shape[derived.axis])
            value = derived.value(got)
            if value is None:
                expected = derived.show(self.labels.get(derived.symbol, derived.symbol))
                raise InputError(f"{spec.name}: expected {expected} (axis {derived.axis}), got {got}")
            self._check_size(spec, derived.axis, derived.symbol, value, sizes)

    def _check_conditions(self, sizes: Mapping[str, int]) -> None:
        for condition in self.conditions:
            if not holds(condition, sizes):
                got = ", ".join(
                    f"{self.labels.get(symbol, symbol)} = {size}" for symbol, size in sizes.items()
                )
                raise InputError(
                    f"inputs: expected sizes with {show(condition, self.labels)}, as in the example the model was "
                    f"compiled with, got {got}; the model behaves differently there: compile again with such an example"
                )

    def _show(self, spec: InputSpec) -> str:
        return "[" + ", ".join(str(self.labels.get(str(d), d)) for d in spec.shape) + "]"


def _kinds(leaves: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return all that decides whether the leaves are right and ordinary, in a fraction of a microsecond each.

    None if that takes a closer look.
    """
    found: list[Any] = []
    try:
        for t in leaves:
            if type(t) not in _ORDINARY_TYPES:
                return None
            found += (t.shape, t.dtype, t.device, t.is_neg(), t.data_ptr() == 0)
        return tuple(found)
    except RuntimeError:  # sparse, nested, or inside torch.vmap: no address
        return None


def _ordinary(spec: InputSpec, leaf: Any, on_device: bool) -> Tensor:
    if not isinstance(leaf, Tensor):
        raise InputError(f"{spec.name}: expected a torch.Tensor of {spec.dtype}, got {type(leaf).__name__}")
    leaf = resolved(leaf)
    found = oddity(leaf, on_device)
    if found is not None:
        place = "" if on_device else "CPU "
        raise InputError(
            f"{spec.name}: expected a {place}tensor of dense {spec.dtype}, got {found[0]}; {found[1]}"
        )
    return leaf


def check_tensor(spec: InputSpec, leaf: Tensor) -> None:
    """Raise InputError unless ``leaf`` is a tensor of the right type and rank."""
    dtype = str(leaf.dtype).removeprefix("torch.")
    if dtype != spec.dtype:
        raise InputError(
            f"{spec.name}: expected dtype {spec.dtype}, got {dtype}; convert with .to(torch.{spec.dtype})"
        )
    if leaf.ndim != len(spec.shape):
        raise InputError(f"{spec.name}: expected {len(spec.shape)} axes, got shape {tuple(leaf.shape)}")


def check_values(spec: InputSpec, leaf: Tensor) -> None:
    """Raise InputError if a value would index past the end of its table."""
    if spec.below is None or leaf.numel() == 0:
        return
    low, high = (int(value) for value in torch.aminmax(leaf))
    if low < 0 or high >= spec.below:
        bad = low if low < 0 else high
        raise InputError(
            f"{spec.name}: expected indices from 0 to {spec.below - 1} (size of the embedding), got {bad}"
        )
