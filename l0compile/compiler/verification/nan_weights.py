"""Name the weights of a model that hold NaN."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm


def nan_weights(model: Any) -> str:
    """Return words to append to a message: the first weight that holds NaN, or "" if none does."""
    if not isinstance(model, nn.Module):
        return ""
    for prefix, module in model.named_modules():
        for name, made in _weights(module):
            value = getattr(module, name)
            if isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any()):
                path = f"{prefix}.{name}" if prefix else name
                return f". {path} holds NaN{_cause(made, value)}"
    return ""


def _weights(module: nn.Module) -> Iterator[tuple[str, list[Tensor]]]:
    """Give the names of a module's tensors, with the tensors that weight_norm makes each from, if it does."""
    if parametrize.is_parametrized(module) and isinstance(module.parametrizations, nn.ModuleDict):
        for name, steps in module.parametrizations.items():
            normed = any(type(step).__name__ == "_WeightNorm" for step in steps.children())
            yield name, list(steps.parameters(recurse=False)) if normed else []
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield hook.name, [getattr(module, hook.name + part) for part in ("_g", "_v")]
    yield from ((name, []) for name in [*module._parameters, *module._buffers])


def _cause(made: list[Tensor], value: Tensor) -> str:
    if not made or any(bool(part.isnan().any()) for part in made):
        return ""
    rows = value.flatten(1).isnan().any(1).nonzero().flatten().tolist() if value.ndim > 1 else []
    which = f" in {'row' if len(rows) == 1 else 'rows'} {', '.join(map(str, rows[:8]))}" if rows else ""
    return (
        f"{which}, though what it is made from does not: weight_norm divides a row of zeros by its length, 0 / 0. "
        "Remove weight_norm before rows become zero"
    )
