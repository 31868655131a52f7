"""Attaching gates to the modules whose names match a pattern."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import nn

from l0compile.errors import GateError
from l0compile.gates.apply import install
from l0compile.gates.gate import Gate
from l0compile.gates.granularity import Block, Feature, Granularity, Head, Layer, Neuron, gate_name, site
from l0compile.ir.ops.gate import grid_shape

# nn.MultiheadAttention reads weight and bias of its projection and never calls it, so only its weight can be gated.
_NEVER_CALLED = nn.modules.linear.NonDynamicallyQuantizableLinear
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
DEFAULT_INIT = 0.97


def attach(
    model: nn.Module,
    gates: Mapping[str, Granularity | tuple[Granularity, ...] | list[Granularity]],
    *,
    init: float = DEFAULT_INIT,
) -> nn.Module:
    """Add gates to ``model`` in place.

    Args:
        model: Any module. Its parameters keep their names in ``state_dict``; gates add entries beside them.
        gates: Name pattern -> granularity, or a tuple or list of them. Patterns are those of a shell, except that ``*``
            matches dots too. Two patterns may match one module if they give it different granularities. When a
            pattern matches several modules, gates on weights and inputs go to the linear layers among them.
        init: Probability that a gate is open at the start, in (0, 1). From 0.961 up the median gate is exactly 1, so
            the default does not change what the model computes in evaluation mode.

    Returns:
        ``model`` itself.

    Raises:
        GateError: ``init`` is out of range, a pattern matches no module, a granularity does not fit a matched module,
            or the module has such a gate already. The model is unchanged.
    """
    if not 0.0 < init < 1.0:
        raise GateError(
            f"attach: expected init, the probability of an open gate, between 0 and 1, got {init}"
        )
    modules = {name: module for name, module in model.named_modules() if not isinstance(module, Gate)}
    planned: dict[tuple[str, str], tuple[Granularity, tuple[int, ...], tuple[int, ...]]] = {}
    for pattern, value in gates.items():
        wanted = value if isinstance(value, tuple | list) else (value,)
        for name in _matching(pattern, modules, wanted):
            for granularity in wanted:
                where = f"attach: module {name!r} (matched by {pattern!r})"
                key = (name, _new_gate_name(modules[name], granularity, where))
                if key in planned:
                    raise GateError(f"{where} is given a second {granularity}; keep one pattern per gate")
                planned[key] = (granularity, *_fit(modules[name], granularity, where))
    for (name, gate), (granularity, grid, block) in planned.items():
        install(modules[name], gate, Gate(granularity, grid, block, init, _device(modules[name], model)))
    return model


def accepts(module: nn.Module, granularity: Granularity) -> bool:
    """Return whether ``attach`` can put a gate of this granularity on ``module``."""
    try:
        _new_gate_name(module, granularity, "")
        _fit(module, granularity, "")
    except GateError:
        return False
    return True


def _matching(pattern: str, modules: Mapping[str, nn.Module], wanted: Sequence[Granularity]) -> list[str]:
    names = [name for name in modules if fnmatchcase(name, pattern)]
    if not names:
        close = get_close_matches(pattern, modules, n=5, cutoff=0.4) or sorted(modules)[1:6]
        raise GateError(
            f"attach: pattern {pattern!r} matches no module; near matches: {', '.join(close) or 'none'}"
        )
    if len(names) > 1 and all(isinstance(each, Block | Head | Neuron) for each in wanted):
        # If none is a linear layer, _fit refuses the first one and says why.
        return [name for name in names if isinstance(modules[name], nn.Linear)] or names
    return names


def _new_gate_name(module: nn.Module, granularity: Granularity, where: str) -> str:
    if not isinstance(granularity, Granularity):
        raise GateError(
            f"{where}: expected a granularity such as Head(12), Neuron() or Block(4, 1), got {granularity!r}"
        )
    name = gate_name(granularity)
    if name in module._modules:
        raise GateError(f"{where} already has a {type(granularity).__name__} gate; attach each gate once")
    return name


def _fit(module: nn.Module, granularity: Granularity, where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return ``(grid, block)`` of the gate, or raise a GateError that says why it does not fit."""
    place, kind = site(granularity), type(module).__name__
    if place != "weight" and isinstance(module, _NEVER_CALLED):
        raise GateError(
            f"{where}: nn.MultiheadAttention never calls this projection, so only Block gates act on it; "
            f"got {granularity}"
        )
    if isinstance(module, _CONTAINERS):
        raise GateError(
            f"{where}: a {kind} would run the gate as one of its members; gate a module in it or around it"
        )
    if isinstance(granularity, Layer):
        return (1,), (0,)
    if isinstance(granularity, Feature):
        return (_width(module, granularity.width, where),), (1,)
    if not isinstance(module, nn.Linear):
        raise GateError(f"{where}: {granularity} gates the {place} of an nn.Linear, got {kind}")
    return _fit_linear(module.out_features, module.in_features, granularity, where)


def _fit_linear(
    rows: int, cols: int, granularity: Block | Head | Neuron, where: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    match granularity:
        case Neuron():
            return (cols,), (1,)
        case Head(count):
            if count < 1 or cols % count:
                raise GateError(
                    f"{where}: expected a head count that divides {cols} input features, got {count}"
                )
            return (count,), (cols // count,)
        case Block(height, width):
            if height < 1 or width < 1:
                raise GateError(f"{where}: expected positive block edges, got {granularity}")
            return grid_shape((rows, cols), (height, width)), (height, width)


def _width(module: nn.Module, given: int | None, where: str) -> int:
    known: int | None
    match module:
        case nn.Linear():
            known = module.out_features
        case nn.Embedding():
            known = module.embedding_dim
        case nn.LayerNorm() | nn.RMSNorm():
            known = module.normalized_shape[-1]
        case _:
            known = given
    if known is None or (given is not None and given != known) or known < 1:
        found = (
            "is unknown: write Feature(width=...)"
            if known is None
            else f"is {known}, got Feature(width={given})"
        )
        raise GateError(f"{where}: the output width of {type(module).__name__} {found}")
    return known


def _device(module: nn.Module, model: nn.Module) -> torch.device:
    for owner in (module, model):
        for parameter in owner.parameters():
            return parameter.device
    return torch.device("cpu")
