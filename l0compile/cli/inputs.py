"""Inputs for a saved model, made up from what its manifest says they must look like."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_unflatten

from l0compile.artifact import load_spec, read_manifest
from l0compile.errors import ConfigError


def example_call(path: str, sizes: Mapping[str, int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(args, kwargs) that the model saved at ``path`` accepts, always the same values.

    ``sizes`` gives every dynamic dimension its size, by the name it was compiled with. Raises ``ConfigError`` when one
    is missing or unknown, ``ArtifactError`` when ``path`` is not a saved model.
    """
    manifest = read_manifest(path)
    labels = manifest.get("labels", {})
    wanted = {
        labels.get(dim, dim) for item in manifest["inputs"] for dim in item["shape"] if isinstance(dim, str)
    }
    if "?" in wanted:
        raise ConfigError(f"{path}: an input has a size derived from others; measure MODULE:FUNCTION instead")
    if wanted != set(sizes):
        needs = (
            " ".join(f"--size {name}=N" for name in sorted(wanted)) or "no --size: all its sizes are fixed"
        )
        raise ConfigError(f"{path}: needs {needs}; got sizes for: {', '.join(sorted(sizes)) or 'nothing'}")
    generator = torch.Generator().manual_seed(0)
    leaves = [_tensor(item, labels, sizes, generator) for item in manifest["inputs"]]
    args, kwargs = tree_unflatten(leaves, load_spec(manifest["in_spec"]))
    return tuple(args), dict(kwargs)


def positional(path: str, sizes: Mapping[str, int]) -> tuple[None, tuple[Any, ...]]:
    """The arguments of ``example_call`` in the form that a measuring process asks of a factory."""
    return None, example_call(path, sizes)[0]


def _tensor(
    item: Mapping[str, Any], labels: Mapping[str, str], sizes: Mapping[str, int], generator: torch.Generator
) -> Tensor:
    shape = [dim if isinstance(dim, int) else sizes[labels.get(dim, dim)] for dim in item["shape"]]
    dtype: torch.dtype = getattr(torch, item["dtype"])
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if item.get("below") is not None:
        return torch.randint(0, item["below"], shape, generator=generator).to(dtype)
    # Whole numbers that index nothing are masks and counts: ones keep every token in play.
    return torch.ones(shape, dtype=dtype)
