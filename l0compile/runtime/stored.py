"""The calling convention of a model as JSON values, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from l0compile.errors import ArtifactError
from l0compile.ir.codec import decode, encode
from l0compile.ir.conditions import from_json
from l0compile.runtime.artifact import dump_spec, load_spec
from l0compile.runtime.parameters import Parameter, Parameters
from l0compile.runtime.signature import Derived, InputSpec, Signature


@dataclass(frozen=True)
class _StoredParameter:
    """A ``Parameter`` in JSON; ``kind`` is the name of an ``inspect.Parameter`` kind."""

    name: str
    kind: Literal["POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD", "VAR_POSITIONAL", "KEYWORD_ONLY", "VAR_KEYWORD"]
    optional: bool
    default: str | None


@dataclass(frozen=True)
class _StoredSignature:
    """A ``Signature`` in JSON: structures as their own text, conditions as nested lists."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[InputSpec, ...]
    in_spec: str
    out_spec: str
    symbols: Mapping[str, tuple[int, int | None]]
    labels: Mapping[str, str]
    conditions: tuple[Any, ...]
    derived: tuple[Derived, ...]
    parameters: tuple[_StoredParameter, ...]
    state: tuple[InputSpec, ...]
    on_device: bool = False


_AS_THEY_ARE = ("inputs", "outputs", "symbols", "labels", "derived", "state", "on_device")


def dump_signature(signature: Signature) -> dict[str, Any]:
    """Return JSON values for ``signature``."""
    parameters = [
        {**vars(item), "default": None if item.default is None else dump_spec(item.default)}
        for item in signature.parameters.items
    ]
    return {
        **{name: encode(getattr(signature, name)) for name in _AS_THEY_ARE},
        "in_spec": dump_spec(signature.in_spec),
        "out_spec": dump_spec(signature.out_spec),
        "conditions": list(signature.conditions),
        "parameters": parameters,
    }


def read_signature(record: Mapping[str, Any]) -> Signature:
    """Return the signature that ``dump_signature`` wrote, beside other keys, into ``record``.

    Raises:
        ArtifactError: it is malformed.
    """
    names = [field.name for field in fields(_StoredSignature)]
    given = {name: record[name] for name in names if name in record}
    stored = decode(given, _StoredSignature, "load", ArtifactError, advice="save the model again")
    try:
        conditions = tuple(from_json(item) for item in stored.conditions)
    except ValueError as error:
        raise ArtifactError(f"load: conditions: {error}; save the model again") from error
    same: dict[str, Any] = {name: getattr(stored, name) for name in _AS_THEY_ARE}
    return Signature(
        **same,
        in_spec=load_spec(stored.in_spec),
        out_spec=load_spec(stored.out_spec),
        conditions=conditions,
        parameters=Parameters(tuple(map(_parameter, stored.parameters))),
    )


def _parameter(stored: _StoredParameter) -> Parameter:
    default = None if stored.default is None else load_spec(stored.default)
    return Parameter(stored.name, stored.kind, stored.optional, default)
