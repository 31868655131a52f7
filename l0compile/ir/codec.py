"""Frozen dataclasses to JSON or TOML values and back, checked against the types of their fields.

Why msgspec: importing it takes 17 ms (median of nine fresh interpreters; cattrs 37 ms, pydantic 84 ms and some more for
each class), and it refuses ``"1"`` and ``True`` for a whole number, which cattrs turns into 1. It ignores unknown keys
of a dataclass, and its messages name neither the value nor the allowed ones: that is added here. An error reads
``file: key: expected, got``.

A field says more than its type by ``Annotated``: ``Count``, ``Text`` and the like below, or a ``Meta`` with bounds, a
pattern, and a ``description`` that stands for both in messages. A ``__post_init__`` may raise ValueError with a message
that begins with the name of the field.
"""

import dataclasses
import difflib
import functools
import tomllib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta as Meta

from l0compile.errors import ConfigError, L0CompileError, StorageError

T = TypeVar("T")

_UNBOUNDED = 1 << 53  # the first whole number whose successor JavaScript cannot tell from it
Text = Annotated[str, Meta(min_length=1, description="text that is not empty")]
Natural = Annotated[int, Meta(ge=0, lt=_UNBOUNDED)]
Count = Annotated[int, Meta(ge=1, lt=_UNBOUNDED)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0, le=1e12, description="a positive number")]

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_LONGEST = 200  # characters of a value in a message


def encode(value: Any) -> Any:
    """Return JSON values for ``value``: dicts for dataclasses; tuples stay tuples, which ``json`` writes as lists."""
    return msgspec.to_builtins(value, enc_hook=_plain)


def decode(
    data: Any,
    kind: type[T],
    where: str,
    error: type[L0CompileError] = StorageError,
    *,
    path: str = "",
    advice: str = "",
) -> T:
    """Return the ``kind`` that ``encode`` gave ``data`` for; fields with a default may be missing.

    Args:
        data: JSON or TOML values.
        kind: a dataclass, or a type made of dataclasses, tuples, mappings and scalars.
        where: the file, or whatever begins every message; empty: the key does.
        error: the class of the error for anything else.
        path: the keys that lead to ``data`` in the file, such as ``gates[0]``.
        advice: what to do about it; ends every message.

    Raises:
        L0CompileError: of class ``error``; the message names the key, what was expected and what came.
    """
    try:
        complaint = _unknown_key(data, kind, path)
        if complaint is None:
            found = msgspec.convert(data, kind)
            if _holds_dataclass(kind):
                _fill_defaults(found)
            return found
    except msgspec.ValidationError as refusal:
        complaint = _complaint(data, kind, path, refusal)
    except RecursionError:
        complaint = f"expected {expected(kind)}, got values nested too deep"
    raise error(f"{where and f'{where}: '}{complaint}{advice and '; '}{advice}")


def decode_json(text: str, kind: type[T], where: str, error: type[L0CompileError] = StorageError) -> T:
    """Return the ``kind`` in a JSON text.

    Raises:
        L0CompileError: of class ``error``, for what is no JSON and as of ``decode``.
    """
    try:
        data = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as problem:
        raise error(f"{where}: expected JSON: {problem}") from problem
    return decode(data, kind, where, error)


def read_toml(file: Path) -> dict[str, Any]:
    """Return the tables in a TOML file.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{file}: can't be read as text: {problem}") from problem
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(f"{file}: is not valid TOML: {problem}") from problem


def expected(kind: Any) -> str:
    """Say in words which values ``kind`` takes: ``a whole number from 1 to 16``."""
    kind, meta = _bare(kind)
    if meta is not None and meta.description:
        return meta.description
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin in (typing.Union, UnionType):
        return " or ".join(expected(part) for part in arguments if part is not NoneType)
    if dataclasses.is_dataclass(kind):
        return f"a table with {', '.join(field.name for field in dataclasses.fields(kind))}"
    if _is_mapping(kind):
        return "a table"
    if origin in (tuple, list, Sequence):
        several = not arguments or arguments[-1] is ... or origin is not tuple
        return "a list" if several else f"a list of {len(arguments)}"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind))) + _bounds(meta)


def _complaint(data: Any, kind: Any, path: str, refusal: Exception) -> str:
    """Describe what is wrong with ``data``: with the first part that is refused by itself, or else with the whole."""
    for key, value, part in _parts(data, kind):
        try:
            msgspec.convert(value, part)
        except msgspec.ValidationError as inner:
            return _complaint(value, part, _join(path, key), inner)
    made, _ = _bare(kind)
    if dataclasses.is_dataclass(made) and isinstance(data, Mapping):
        hints = _hints(made)
        for field in dataclasses.fields(made):
            if field.name not in data and _is_required(field):
                return f"{_join(path, field.name)}: is missing; expected {expected(hints[field.name])}"
        return f"{path}.{refusal.__cause__ or refusal}".removeprefix(".")
    return f"{path}: ".removeprefix(": ") + f"expected {expected(kind)}, got {_brief(data)}"


def _unknown_key(data: Any, kind: Any, path: str) -> str | None:
    """The complaint about the first key in ``data`` that no dataclass in ``kind`` has."""
    if not _holds_dataclass(kind):
        return None
    kind, _ = _bare(kind)
    if dataclasses.is_dataclass(kind) and isinstance(data, Mapping):
        known = _hints(kind)
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                return f"{_join(path, key)}: unknown key; expected one of {', '.join(known)}{hint}"
    found = (_unknown_key(value, part, _join(path, key)) for key, value, part in _parts(data, kind))
    return next((complaint for complaint in found if complaint), None)


def _parts(data: Any, kind: Any) -> Iterator[tuple[str | int, Any, Any]]:
    """The key, value and type of each part of ``data``, as far as ``kind`` says what its parts are."""
    kind, _ = _bare(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(data, Mapping):
        yield from ((name, data[name], hint) for name, hint in _hints(kind).items() if name in data)
    elif _is_mapping(kind) and arguments and isinstance(data, Mapping):
        for key, value in data.items():
            yield str(key), key, arguments[0]
            yield str(key), value, arguments[1]
    elif origin in (tuple, list, Sequence) and arguments and isinstance(data, list | tuple):
        several = origin is not tuple or arguments[-1] is ...
        kinds = [arguments[0]] * len(data) if several else list(arguments)
        if len(kinds) == len(data):
            yield from (
                (place, value, part) for place, (value, part) in enumerate(zip(data, kinds, strict=True))
            )


def _fill_defaults(value: Any) -> None:
    """Give every dataclass in ``value`` its defaults: msgspec leaves them to the class, where ``vars`` misses them."""
    if dataclasses.is_dataclass(value):
        given = vars(value)
        for name, hint in _hints(type(value)).items():
            if name not in given:
                object.__setattr__(value, name, getattr(value, name))
            if _holds_dataclass(hint):
                _fill_defaults(given[name])
    elif isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            _fill_defaults(item)


def _bare(kind: Any) -> tuple[Any, Meta | None]:
    """``kind`` without ``Annotated`` and without None, and what ``Annotated`` says."""
    meta = None
    while True:
        if typing.get_origin(kind) is Annotated:
            meta = next((item for item in reversed(kind.__metadata__) if isinstance(item, Meta)), meta)
            kind = kind.__origin__
            continue
        others = [part for part in typing.get_args(kind) if part is not NoneType]
        if typing.get_origin(kind) not in (typing.Union, UnionType) or len(others) != 1:
            return kind, meta
        kind = others[0]


def _fields_of(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _has_dataclass(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or any(map(_holds_dataclass, typing.get_args(kind)))


_hints: Callable[[Any], dict[str, Any]] = functools.cache(_fields_of)
_holds_dataclass: Callable[[Any], bool] = functools.cache(_has_dataclass)


def _is_mapping(kind: Any) -> bool:
    found = typing.get_origin(kind) or kind
    return isinstance(found, type) and issubclass(found, Mapping)


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _bounds(meta: Meta | None) -> str:
    if meta is None:
        return ""
    high = meta.le if meta.le is not None else meta.lt
    if meta.ge is not None and (high is None or high >= _UNBOUNDED):
        return f" of at least {_number(meta.ge)}"
    named = (("from", meta.ge), ("above", meta.gt), ("to", meta.le), ("below", meta.lt))
    return "".join(f" {word} {_number(bound)}" for word, bound in named if bound is not None)


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _join(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _plain(value: Any) -> Any:
    """What msgspec does not take as it is: mappings that are no dict, and numbers of NumPy, which are Python's too."""
    if isinstance(value, Mapping):
        return dict(value)
    for kind in (float, int, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"expected JSON values, got {type(value).__name__}")
