"""Dynamic dimensions: what a user writes -> what ``torch.export`` takes."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export import Dim
from torch.utils import _pytree as pytree

from l0compile.errors import CaptureError

ArgumentPath = tuple[Any, ...]
"""Name of an argument, then keys into nested containers."""


@dataclass(frozen=True)
class ExampleCall:
    """The example arguments of a call.

    Attributes:
        signature: The signature of ``forward``.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    signature: inspect.Signature
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """Parameter name -> value; variadic keywords are listed beside the others, as torch.export expects."""
        result = dict(self.signature.bind(*self.args, **self.kwargs).arguments)
        for name, parameter in self.signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                result.update(result.pop(name, {}))
        return result

    def with_arguments(self, arguments: Mapping[str, Any]) -> "ExampleCall":
        """Make a call of the same form with other values."""
        positional: list[Any] = []
        for name, parameter in self.signature.parameters.items():
            if len(positional) == len(self.args):
                break
            variadic = parameter.kind is inspect.Parameter.VAR_POSITIONAL
            positional.extend(arguments[name] if variadic else [arguments[name]])
        return ExampleCall(self.signature, tuple(positional), {name: arguments[name] for name in self.kwargs})


@dataclass(frozen=True)
class DynamicSpec:
    """The dimensions that may vary.

    Attributes:
        shapes: Argument name -> nested specification of torch.export, with ``Dim.DYNAMIC`` in place of names.
        dims: (path of the tensor, dimension) -> name or None, for each dimension that may vary.
    """

    shapes: dict[str, Any]
    dims: dict[tuple[ArgumentPath, int], str | None] = field(default_factory=dict)


def read_spec(call: ExampleCall, dynamic_shapes: Any) -> DynamicSpec | None:
    """Normalise ``dynamic_shapes``.

    Args:
        call: The example arguments.
        dynamic_shapes: A specification in torch.export's format, with some freedom: a dimension may be a string (equal
            strings mean equal sizes), arguments may be missing (they are static), a model with one argument takes its
            specification alone, and the keys may be positions of arguments.

    Returns:
        The normal form, or None when nothing is dynamic.

    Raises:
        CaptureError: An argument is unknown, a specification does not fit its argument, or two example sizes have one
            name.
    """
    if dynamic_shapes is None:
        return None
    spec = DynamicSpec(shapes={})
    per_argument = _by_argument(list(call.arguments), dynamic_shapes)
    for name, value in call.arguments.items():
        spec.shapes[name] = _convert(per_argument.get(name), value, (name,), spec.dims)
    _check_names(call, spec)
    return spec if spec.dims else None


def _by_argument(names: list[str], given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping) and all(isinstance(key, str) for key in given):
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise CaptureError(
                f"dynamic_shapes: expected arguments of the call ({', '.join(names)}), got {unknown}"
            )
        return dict(given)
    if isinstance(given, Mapping) and all(isinstance(key, int) for key in given):
        if all(isinstance(value, (Mapping, list, tuple)) for value in given.values()):
            return {names[key]: value for key, value in given.items() if 0 <= key < len(names)}
        if len(names) != 1:
            raise CaptureError(
                f"dynamic_shapes: a single {{dimension: name}} fits a model with one argument, this call has "
                f"{len(names)}: give {{{names[0]!r}: {{0: 'batch'}}, ...}}"
            )
        return {names[0]: given}
    if isinstance(given, (list, tuple)):
        if len(given) > len(names):
            raise CaptureError(
                f"dynamic_shapes: expected at most {len(names)} entries ({', '.join(names)}), got {len(given)}"
            )
        return dict(zip(names, given, strict=False))
    raise CaptureError(
        f"dynamic_shapes: expected a dict by argument name or a tuple, got {type(given).__name__}"
    )


def _convert(
    spec: Any, value: Any, path: ArgumentPath, dims: dict[tuple[ArgumentPath, int], str | None]
) -> Any:
    if spec is None:
        return None
    if isinstance(value, torch.Tensor):
        return _convert_tensor(spec, value, path, dims)
    if isinstance(value, Mapping) and isinstance(spec, Mapping):
        return {key: _convert(spec.get(key), item, (*path, key), dims) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and isinstance(spec, Sequence) and len(spec) == len(value):
        # torch.export expects the containers of the arguments, with a plain tuple for a named one.
        container = tuple if isinstance(value, tuple) else list
        return container(_convert(spec[i], item, (*path, i), dims) for i, item in enumerate(value))
    raise CaptureError(
        f"dynamic_shapes[{_show(path)}]: {spec!r} does not fit an argument of type {type(value).__name__}"
    )


def _convert_tensor(
    spec: Any, value: torch.Tensor, path: ArgumentPath, dims: dict[tuple[ArgumentPath, int], str | None]
) -> Any:
    entries = dict(spec) if isinstance(spec, Mapping) else dict(enumerate(spec))
    result: dict[int, Any] = {}
    for dim, entry in entries.items():
        position = dim + value.dim() if dim < 0 else dim
        if not 0 <= position < value.dim():
            raise CaptureError(
                f"dynamic_shapes[{_show(path)}]: a tensor of shape {tuple(value.shape)} has no dimension {dim}"
            )
        if entry is None or isinstance(entry, int) or entry is Dim.STATIC:
            continue
        named = isinstance(entry, str)
        dims[path, position] = entry if named else getattr(entry, "__name__", None)
        result[position] = Dim.DYNAMIC if named else entry
    return result or None


def _check_names(call: ExampleCall, spec: DynamicSpec) -> None:
    sizes: dict[str, tuple[int, str]] = {}
    for (path, dim), name in spec.dims.items():
        if name is None:
            continue
        size, where = lookup(call.arguments, path).shape[dim], f"{_show(path)} dimension {dim}"
        if name in sizes and sizes[name][0] != size:
            raise CaptureError(
                f"dynamic_shapes: {name!r} is {sizes[name][0]} at {sizes[name][1]} but {size} at {where}; "
                "equal names mean equal sizes: give example inputs that agree, or two names"
            )
        sizes[name] = (size, where)


def lookup(arguments: Mapping[str, Any], path: ArgumentPath) -> Any:
    """Return the tensor at ``path`` among bound arguments."""
    value: Any = arguments
    for key in path:
        value = value[key]
    return value


def resize(call: ExampleCall, sizes: Mapping[tuple[ArgumentPath, int], int]) -> ExampleCall:
    """Copy the arguments, with given dimensions repeated or cut to given sizes."""
    changed: dict[ArgumentPath, torch.Tensor] = {}
    for (path, dim), size in sizes.items():
        tensor = changed.get(path, lookup(call.arguments, path))
        index = torch.arange(size, device=tensor.device) % max(tensor.shape[dim], 1)
        empty = (*tensor.shape[:dim], size, *tensor.shape[dim + 1 :])
        changed[path] = tensor.index_select(dim, index) if tensor.shape[dim] else tensor.new_zeros(empty)
    resized = pytree.tree_map_with_path(
        lambda keys, leaf: changed.get(tuple(key_of(key) for key in keys), leaf), call.arguments
    )
    return call.with_arguments(resized)


def enlarged(call: ExampleCall, spec: DynamicSpec) -> ExampleCall:
    """Enlarge dynamic dimensions of size 0 or 1, because tracing would take 1 for a constant.

    Different dimensions get different sizes, so that tracing sees no accidental equality.
    """
    names = list(dict.fromkeys(name for name in spec.dims.values() if name is not None))
    small = {
        key: 2 + (names.index(name) if name is not None else key[1])
        for key, name in spec.dims.items()
        if lookup(call.arguments, key[0]).shape[key[1]] < 2
    }
    return resize(call, small) if small else call


def key_of(entry: Any) -> Any:
    """Turn one step of a pytree key path into one step of an :data:`ArgumentPath`."""
    return entry.idx if isinstance(entry, pytree.SequenceKey) else getattr(entry, "key", entry)


def _show(path: ArgumentPath) -> str:
    return ".".join(str(key) for key in path)
