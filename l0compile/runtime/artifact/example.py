"""Make up inputs for a compiled model, from what its manifest says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from l0compile.errors import ConfigError


def example_sizes(items: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> dict[str, int]:
    """Return the size of each dynamic dimension in the example at compile time, by label."""
    pairs = [
        (labels.get(dim, dim), size)
        for item in items
        for dim, size in zip(item["shape"], item.get("example") or (), strict=False)
        if isinstance(dim, str) and dim != "?"
    ]
    return dict(pairs)


def example_leaves(
    items: Sequence[Mapping[str, Any]], labels: Mapping[str, str], sizes: Mapping[str, int], where: str
) -> list[Tensor]:
    """Make up flat inputs, always with the same values.

    Floats and complex numbers are normally distributed, indices are spread over their table, other whole numbers
    (masks, counts) are ones.

    Args:
        items: the manifest's ``inputs``.
        labels: size symbol -> label.
        sizes: size of every dynamic dimension by label; ``example_sizes`` gives those of the example.
        where: what a message calls the model.

    Raises:
        ConfigError: a size is missing, unknown, or derived from one that differs from the example's.
    """
    wanted = {labels.get(d, d) for item in items for d in item["shape"] if isinstance(d, str)} - {"?"}
    if wanted != set(sizes):
        needs = (
            " ".join(f"--size {name}=N" for name in sorted(wanted)) or "no --size: all its sizes are fixed"
        )
        raise ConfigError(f"{where}: needs {needs}; got sizes for: {', '.join(sorted(sizes)) or 'nothing'}")
    as_compiled = example_sizes(items, labels) == dict(sizes)
    generator = torch.Generator().manual_seed(0)
    return [_tensor(item, _shape(item, labels, sizes, as_compiled, where), generator) for item in items]


def _shape(
    item: Mapping[str, Any],
    labels: Mapping[str, str],
    sizes: Mapping[str, int],
    as_compiled: bool,
    where: str,
) -> list[int]:
    example = item.get("example")
    if as_compiled and example is not None:
        return list(example)
    if "?" in item["shape"]:
        raise ConfigError(
            f"{where}: input {item['name']} has a size derived from others, and is known only at the example's sizes; "
            "give the inputs themselves, as MODULE:FUNCTION does"
        )
    return [dim if isinstance(dim, int) else sizes[labels.get(dim, dim)] for dim in item["shape"]]


def _tensor(item: Mapping[str, Any], shape: Sequence[int], generator: torch.Generator) -> Tensor:
    dtype: torch.dtype = getattr(torch, item["dtype"])
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if dtype.is_complex:
        return torch.randn(shape, generator=generator, dtype=dtype)
    if item.get("below") is not None:
        return torch.randint(0, item["below"], shape, generator=generator).to(dtype)
    # Whole numbers that index nothing are masks and counts: ones keep every token in play.
    return torch.ones(shape, dtype=dtype)
