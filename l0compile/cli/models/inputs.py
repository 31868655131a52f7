"""Inputs for a saved model, made up from what its manifest says they must look like."""

from collections.abc import Mapping
from typing import Any

from torch.utils._pytree import tree_unflatten

from l0compile.runtime.artifact import example_leaves, load_spec, read_manifest


def example_call(path: str, sizes: Mapping[str, int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(args, kwargs) that the model saved at ``path`` accepts, always the same values.

    ``sizes`` gives every dynamic dimension its size, by the name it was compiled with. Raises ``ConfigError`` when one
    is missing or unknown, ``ArtifactError`` when ``path`` is not a saved model.
    """
    manifest = read_manifest(path)
    leaves = example_leaves(manifest["inputs"], manifest.get("labels", {}), sizes, path)
    args, kwargs = tree_unflatten(leaves, load_spec(manifest["in_spec"]))
    return tuple(args), dict(kwargs)


def measured(path: str, sizes: Mapping[str, int]) -> tuple[None, tuple[Any, ...], dict[str, Any]]:
    """What ``example_call`` gives, in the form that a measuring process asks of a factory."""
    return (None, *example_call(path, sizes))
