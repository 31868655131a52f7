"""Write the structure of a model's inputs and outputs (a pytree spec) as JSON text; reading it runs no code.

A class of containers (a dataclass, a named tuple, a Hugging Face output) is stored by name and by the names of its
fields. It is the same class again if the loading process has it; otherwise a named tuple becomes another one with the
same fields, anything else a :class:`Record`. So a model loads even if its code, or transformers, is not installed.
"""

import importlib
import json
import re
import sys
from collections import OrderedDict, namedtuple
from typing import Any

from torch.utils import _pytree as pytree
from torch.utils._pytree import TreeSpec

from l0compile.errors import ArtifactError
from l0compile.ir.conditions import from_json
from l0compile.ir.structure import PLAIN, Fixed, SizeOf
from l0compile.runtime.artifact.nesting import check_depth, parse

# Hugging Face registers its output classes when the module that defines them is imported. Only modules that hold such
# classes and nothing to run are let through: a manifest is data, and must not be able to name just any module.
_HUGGING_FACE = re.compile(r"transformers\.(?:modeling_outputs|models\.\w+\.modeling_\w+)")
_SEQUENCES: dict[str, Any] = {"tuple": tuple, "list": list}
_MAPPINGS: dict[str, Any] = {"dict": dict, "ordered": OrderedDict}


class Record(dict[str, Any]):
    """A result whose class is not at hand: a dict by field name whose items are attributes too."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"the result has no field {name!r}; it has {', '.join(self)}")
        return self[name]


pytree.register_pytree_node(
    Record,
    lambda record: (list(record.values()), list(record)),
    lambda values, names: Record(zip(names, values, strict=True)),
)


def dump_spec(spec: TreeSpec) -> str:
    """Return JSON text for ``spec``.

    Raises:
        ArtifactError: JSON has no name for one of its containers.
    """
    try:
        dumped = _dump(spec)
        check_depth(dumped)
        return json.dumps(dumped, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"save: the model's inputs or outputs use a container that cannot be stored as JSON ({error}); "
            "use tuple, list, dict, a named tuple, a dataclass or a Hugging Face output class"
        ) from error


def load_spec(text: str) -> TreeSpec:
    """Return the spec that ``dump_spec`` wrote.

    Raises:
        ArtifactError: the text is something else.
    """
    try:
        return _load(parse(text))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"load: the artifact's input or output structure cannot be rebuilt ({error})"
        ) from error


def _dump(spec: TreeSpec) -> Any:
    if spec.is_leaf():
        return None
    if spec.type is Fixed:
        return {"kind": "fixed", "value": spec.context.value}
    if spec.type is SizeOf:
        return {"kind": "size", "value": spec.context.expression}
    children = [_dump(child) for child in spec.children()]
    for kind, container in (_SEQUENCES | _MAPPINGS).items():
        if spec.type is container:
            keys = _keys(spec.context) if kind in _MAPPINGS else None
            return {"kind": kind, "keys": keys, "children": children}
    if spec.type is namedtuple:
        found = {
            "kind": "named tuple",
            "class": _class_name(spec.context),
            "keys": list(spec.context._fields),
        }
        return found | {"children": children}
    keys, absent = _fields(spec)
    return {
        "kind": "object",
        "class": _class_name(spec.type),
        "keys": keys,
        "absent": absent,
        "children": children,
    }


def _keys(context: Any) -> list[Any]:
    if any(type(key) not in (str, int, bool) for key in context):
        raise ValueError(f"keys {context} are not all strings or integers")
    return list(context)


def _fields(spec: TreeSpec) -> tuple[list[str], list[str] | None]:
    """Return the names of the fields, and of those that were None if the class leaves these out (a dataclass)."""
    context = spec.context
    lists = (
        isinstance(context, list) and len(context) == 2 and all(isinstance(names, list) for names in context)
    )
    keys, absent = context if lists else (context, None)
    named = (
        isinstance(keys, list)
        and len(keys) == spec.num_children
        and all(isinstance(key, str) for key in keys)
    )
    if not named or not _is_own_class(spec.type):
        raise ValueError(f"{_class_name(spec.type)} does not name its fields")
    return list(keys), absent


def _class_name(kind: Any) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _load(node: Any) -> TreeSpec:
    if node is None:
        return pytree.tree_structure(0)
    kind = node["kind"]
    if kind == "fixed":
        if not isinstance(node["value"], PLAIN):
            raise ValueError(f"{node['value']!r} is no plain value")
        return TreeSpec(Fixed, Fixed(node["value"]), [])
    if kind == "size":
        return TreeSpec(SizeOf, SizeOf(from_json(node["value"])), [])
    children, keys = [_load(child) for child in node["children"]], node["keys"]
    if keys is not None and len(keys) != len(children):
        raise ValueError(f"{len(keys)} keys for {len(children)} parts")
    if kind in _SEQUENCES:
        return TreeSpec(_SEQUENCES[kind], None, children)
    if kind in _MAPPINGS:
        return TreeSpec(_MAPPINGS[kind], keys, children)
    found = _class(node["class"])
    if kind == "named tuple":
        same = pytree.is_namedtuple_class(found) and list(found._fields) == keys
        return TreeSpec(namedtuple, found if same else namedtuple("Result", keys), children)
    if kind != "object":
        raise ValueError(f"unknown container {kind!r}")
    if _is_own_class(found):
        return TreeSpec(found, keys if node["absent"] is None else [keys, node["absent"]], children)
    return TreeSpec(Record, keys, children)


def _is_own_class(kind: Any) -> bool:
    """Return whether PyTorch knows ``kind`` as a container that is none of Python's own: those differ in context."""
    return kind in pytree.SUPPORTED_NODES and kind.__module__ not in (
        "builtins",
        "collections",
        Fixed.__module__,
    )


def _class(name: str) -> Any:
    """Return the class of that name if this process has it, else None. Imports only Hugging Face's output classes."""
    module, _, path = name.partition(":")
    if _HUGGING_FACE.fullmatch(module):
        try:
            importlib.import_module(module)
        except ImportError:
            return None
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None
