"""The structure of a model's inputs and outputs (a pytree spec) as JSON text, without running code on the way back."""

import importlib
import json
import re
from typing import Any

from torch.utils._pytree import TreeSpec, treespec_dumps, treespec_loads

from l0compile.errors import ArtifactError

# Hugging Face registers its output classes when the module that defines them is imported, so a fresh process must
# import it first. Only modules that hold such classes and nothing to run are let through: a manifest is data, and must
# not be able to name just any module.
_HUGGING_FACE = re.compile(r"(transformers\.(?:modeling_outputs|models\.\w+\.modeling_\w+))\.(\w+)")


def dump_spec(spec: TreeSpec) -> str:
    """JSON text of ``spec``. Raises ``ArtifactError`` for a container that cannot be named in JSON."""
    try:
        text = treespec_dumps(spec)
        _check_types(json.loads(text)[1])
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"save: the model's inputs or outputs use a container that cannot be stored as JSON ({error}); "
            "use tuple, list, dict or a Hugging Face output class"
        ) from error
    return text


def load_spec(text: str) -> TreeSpec:
    """The spec that ``dump_spec`` gave ``text`` for. Raises ``ArtifactError`` for a container this process lacks."""
    try:
        _import_types(_check_types(json.loads(text)[1]))
        return treespec_loads(text)
    except (NotImplementedError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"load: the artifact's input or output structure cannot be rebuilt ({error}); "
            "if it is a class of your own, import the module that registers it before load()"
        ) from error


def _check_types(node: dict[str, Any]) -> set[str]:
    # PyTorch imports whatever module a defaultdict's factory or an enum key names; both are refused.
    if node["type"] == "collections.defaultdict" or "__enum__" in str(node["context"]):
        raise ValueError("defaultdict and enum keys are not supported")
    found = {node["type"]} if node["type"] is not None else set()
    return found.union(*(_check_types(child) for child in node["children_spec"]))


def _import_types(names: set[str]) -> None:
    for name in sorted(names):
        match = _HUGGING_FACE.fullmatch(name)
        if match is None:
            continue
        try:
            importlib.import_module(match[1])
        except ImportError as error:
            raise ArtifactError(
                f"load: the model returns {name}, which needs transformers ({error}); "
                "run: pip install 'l0compile[minilm]'"
            ) from error
