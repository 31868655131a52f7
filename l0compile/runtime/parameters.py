"""The parameters of a model's ``forward`` as data: a call may name its arguments otherwise than the example."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch.utils import _pytree as pytree
from torch.utils._pytree import TreeSpec

from l0compile.errors import ArtifactError, InputError
from l0compile.ir.structure import PLAIN, Fixed, with_values
from l0compile.runtime.artifact import dump_spec

_KINDS = {kind.name: kind for kind in inspect._ParameterKind}


@dataclass(frozen=True)
class _Key:
    """A parameter; or (``extra``) a variadic keyword, which may have the name of a positional parameter."""

    name: str
    extra: bool = False


@dataclass(frozen=True)
class Parameter:
    """One parameter of ``forward``.

    Attributes:
        name: as in ``forward``.
        kind: name of an ``inspect.Parameter`` kind.
        optional: whether it has a default.
        default: the default as a structure without tensors; None if there is none, or it holds more than numbers,
            strings and None.
    """

    name: str
    kind: str
    optional: bool
    default: TreeSpec | None

    @property
    def value(self) -> Any:
        """The default."""
        assert self.default is not None
        return pytree.tree_unflatten([], self.default)

    def is_default(self, value: Any) -> bool:
        """Return whether ``value`` is the default, types included."""
        return self.default is not None and _as_values(value) == self.default


@dataclass(frozen=True)
class Parameters:
    """All parameters in order. None are known of some models: a call must then look like the example."""

    items: tuple[Parameter, ...] = ()

    @classmethod
    def of(cls, signature: inspect.Signature) -> "Parameters":
        """Return those of a Python function."""
        return cls(tuple(map(_read, signature.parameters.values())))

    def arranged(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], example: TreeSpec
    ) -> tuple[list[Any], dict[str, Any]]:
        """Arrange the arguments as in the example: positional ones, and those by keyword.

        Args:
            args: positional arguments of a call.
            kwargs: its keyword arguments.
            example: structure of the example's (args, kwargs).

        Raises:
            InputError: the arguments do not fit the parameters; one without a default is missing; or one has another
                value than the default that the example left it at.
        """
        count, names = example.child(0).num_children, list(example.child(1).context or [])
        wanted = self._bound([None] * count, dict.fromkeys(names))
        given = self._bound(args, kwargs)
        known = {_Key(item.name): item for item in self.items}
        for key in given.keys() - wanted.keys():
            item = known.get(key)
            if item is None or not item.is_default(given[key]):
                raise InputError(
                    f"{key.name}: {_unlike_the_example(item)}; compile it again with this argument"
                )
        for key in wanted.keys() - given.keys():
            item = known.get(key)
            if item is None or item.default is None:
                raise InputError(f"{key.name}: missing; the model was compiled for calls that give it")
            given[key] = item.value
        positional: list[Any] = []
        for item in self.items:
            if item.kind == "VAR_POSITIONAL":
                _check_number(item, wanted, given)
                positional.extend(given[_Key(item.name)])
            elif item.kind.startswith("POSITIONAL") and len(positional) < count:
                positional.append(given[_Key(item.name)])
        by_name = {item.name for item in self.items if item.kind in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")}
        return positional, {name: given[_Key(name, name not in by_name)] for name in names}

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> "dict[_Key, Any]":
        """Return parameter -> argument, for all that are given and for the variadic positional one."""
        try:
            bound = dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise InputError(f"inputs: {error}; the model takes {self._signature}") from None
        others: dict[str, Any] = {}
        for item in self.items:
            if item.kind == "VAR_POSITIONAL":
                bound.setdefault(item.name, ())
            elif item.kind == "VAR_KEYWORD":
                others = bound.pop(item.name, {})
        named = {_Key(name): value for name, value in bound.items()}
        return named | {_Key(name, True): value for name, value in others.items()}

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.Signature(
            [
                inspect.Parameter(
                    item.name,
                    _KINDS[item.kind],
                    default=(item.value if item.default is not None else ...)
                    if item.optional
                    else inspect.Parameter.empty,
                )
                for item in self.items
            ]
        )


def _read(parameter: inspect.Parameter) -> Parameter:
    optional = parameter.default is not inspect.Parameter.empty
    default = _as_values(parameter.default) if optional else None
    return Parameter(parameter.name, parameter.kind.name, optional, default)


def _as_values(value: Any) -> TreeSpec | None:
    """Return ``value`` as a structure without leaves; None if it holds more than numbers, strings and None."""
    leaves, spec = pytree.tree_flatten(value)
    finite = all(not isinstance(leaf, float) or math.isfinite(leaf) for leaf in leaves)
    if not finite or not all(type(leaf) in PLAIN for leaf in leaves):
        return None
    made = with_values(spec, {position: Fixed(leaf) for position, leaf in enumerate(leaves)})
    return made if _storable(made) else None


def _storable(spec: TreeSpec) -> bool:
    try:
        dump_spec(spec)
    except ArtifactError:
        return False
    return True


def _unlike_the_example(item: Parameter | None) -> str:
    if item is None:
        return "the model was compiled for calls without it"
    default = repr(item.value) if item.default is not None else "its default"
    return f"the model was compiled for calls without it, where it is {default}"


def _check_number(item: Parameter, wanted: Mapping[_Key, Any], given: Mapping[_Key, Any]) -> None:
    number, found = (len(each[_Key(item.name)]) for each in (wanted, given))
    if number != found:
        raise InputError(f"{item.name}: the model was compiled for {number} of these arguments, got {found}")
