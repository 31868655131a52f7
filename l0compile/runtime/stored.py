"""The calling convention of a model as JSON values, and back."""

from collections.abc import Mapping
from typing import Any

from l0compile.errors import ArtifactError
from l0compile.ir.conditions import from_json
from l0compile.runtime.artifact import dump_spec, load_spec
from l0compile.runtime.parameters import Parameter, Parameters
from l0compile.runtime.signature import Derived, InputSpec, Signature


def dump_signature(signature: Signature) -> dict[str, Any]:
    """JSON values only."""
    return {
        "inputs": [vars(item) for item in signature.inputs],
        "outputs": [vars(item) for item in signature.outputs],
        "in_spec": dump_spec(signature.in_spec),
        "out_spec": dump_spec(signature.out_spec),
        "symbols": {name: list(bounds) for name, bounds in signature.symbols.items()},
        "labels": dict(signature.labels),
        "conditions": list(signature.conditions),
        "derived": [vars(item) for item in signature.derived],
        "parameters": [item.to_json() for item in signature.parameters.items],
        "state": [vars(item) for item in signature.state],
    }


def read_signature(record: Mapping[str, Any]) -> Signature:
    """The signature that ``dump_signature`` gave ``record`` for. Raises ArtifactError for anything else."""
    try:
        return Signature(
            inputs=tuple(_input(item) for item in record["inputs"]),
            outputs=tuple(_input(item) for item in record["outputs"]),
            symbols={name: (low, high) for name, (low, high) in record["symbols"].items()},
            labels=record["labels"],
            in_spec=load_spec(record["in_spec"]),
            out_spec=load_spec(record["out_spec"]),
            conditions=tuple(from_json(item) for item in record["conditions"]),
            derived=tuple(Derived(**item) for item in record["derived"]),
            parameters=Parameters(tuple(Parameter.from_json(item) for item in record["parameters"])),
            state=tuple(_input(item) for item in record["state"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"load: the inputs or results of the artifact are malformed ({error!r})"
        ) from error


def _input(item: Mapping[str, Any]) -> InputSpec:
    example = item["example"]
    return InputSpec(
        item["name"],
        item["dtype"],
        tuple(item["shape"]),
        item["below"],
        None if example is None else tuple(example),
    )
