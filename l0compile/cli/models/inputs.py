"""Make up inputs for a saved model from what its manifest says about them."""

from collections.abc import Mapping
from typing import Any

from torch.utils._pytree import tree_unflatten

from l0compile.runtime.artifact import example_leaves, load_spec, read_manifest


def example_call(path: str, sizes: Mapping[str, int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return (args, kwargs) that a saved model accepts; the values are the same each time.

    Args:
        path: Of the model.
        sizes: Number by name, for every dynamic dimension that the model was compiled with.

    Raises:
        ConfigError: A size is missing or unknown.
        ArtifactError: There is no saved model at ``path``.
    """
    manifest = read_manifest(path)
    leaves = example_leaves(manifest["inputs"], manifest.get("labels", {}), sizes, path)
    args, kwargs = tree_unflatten(leaves, load_spec(manifest["in_spec"]))
    return tuple(args), dict(kwargs)


def measured(path: str, sizes: Mapping[str, int]) -> tuple[None, tuple[Any, ...], dict[str, Any]]:
    """Return what ``example_call`` returns, in the form that a measuring process asks for."""
    return (None, *example_call(path, sizes))
