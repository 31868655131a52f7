"""What the heads of a model say at the last token."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError, InputError

CallArguments = tuple[Any, ...]


def last_tokens(model: nn.Module, layers: Mapping[str, int], args: CallArguments) -> dict[str, Tensor]:
    """Call the model, and return the heads of some layers at the last token.

    Args:
        model: The model.
        layers: Name of an output projection -> number of heads that it joins. Its input is [B, S, heads * D].
        args: Of the call.

    Returns:
        Name -> [B, heads, D].

    Raises:
        InputError: A layer was not called, or not with tokens of so many equal heads.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, count: int) -> Callable[[nn.Module, CallArguments], None]:
        def hook(module: nn.Module, inputs: CallArguments) -> None:
            x = inputs[0]
            if x.ndim != 3 or x.shape[-1] % count:
                raise InputError(
                    f"{name}: expected tokens [batch, tokens, features] of {count} equal heads, got {tuple(x.shape)}"
                )
            found[name] = x[:, -1].unflatten(-1, (count, -1))

        return hook

    handles = [
        model.get_submodule(name).register_forward_pre_hook(keep(name, n)) for name, n in layers.items()
    ]
    try:
        model(*args)
    finally:
        for handle in handles:
            handle.remove()
    missing = sorted(layers.keys() - found.keys())
    if missing:
        raise InputError(f"{missing[0]}: the model does not call this layer, so its heads are unknown")
    return found


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean [classes, ...] of the values [N, ...] of each class.

    Raises:
        ConfigError: A class has no example.
    """
    counts = torch.bincount(labels, minlength=classes)
    if bool((counts == 0).any()):
        raise ConfigError(f"heads: expected examples of all {classes} classes, got {counts.tolist()}")
    sums = values.new_zeros(classes, *values.shape[1:]).index_add(0, labels, values)
    return sums / counts.view(-1, *[1] * (values.ndim - 1))


def nearest(values: Tensor, means: Tensor) -> Tensor:
    """Return [N, heads], the class whose mean [classes, heads, D] has the smallest angle to values [N, heads, D]."""
    values, means = (nn.functional.normalize(t, dim=-1) for t in (values, means))
    return torch.einsum("nhd,chd->nhc", values, means).argmax(-1)
