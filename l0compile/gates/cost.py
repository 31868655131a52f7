"""The expected cost of a gated model, with nested gates multiplied.

A linear layer ``[out, in]`` costs ``out * in``, or what was measured: a number, or a curve over its density. Its
weight ``w[i, j]`` is alive only if the gates of its block, of its input ``j``, of its output ``i`` and of every layer
around it are open. Gates are independent, so the expected live part is ``r^T P c``, where ``P`` holds P(open) of the
blocks, and ``r`` and ``c`` hold P(open) of rows and columns, summed inside blocks. This is differentiable and takes one
pass over ``P``.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from math import isfinite, prod
from typing import TypeAlias

import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates.feeds import consumers_of
from l0compile.gates.gate import Gate
from l0compile.gates.granularity import Block, Feature, Layer, site

Cost: TypeAlias = float | Sequence[tuple[float, float]]
"""Cost of a module with all gates open, if the cost is proportional to the density; otherwise points (density, cost),
the last one at density 1."""


@dataclass(frozen=True)
class CostItem:
    """One linear layer (or one gate without a linear layer) and everything that can switch parts of it off.

    Attributes:
        name: Module path.
        dense: Cost with every gate open, in any unit.
        shape: ``(out, in)``.
        block: The gate of the weight, if there is one.
        rows: Gates that expand to ``[out]``.
        cols: Gates that expand to ``[in]``.
        scales: :class:`Layer` gates of the module and of those around it.
        curve: Points (density, cost) up to ``(1, dense)``; empty when the cost is proportional to the density.
    """

    name: str
    dense: float
    shape: tuple[int, int]
    block: Gate | None
    rows: tuple[Gate, ...]
    cols: tuple[Gate, ...]
    scales: tuple[Gate, ...]
    curve: tuple[tuple[float, float], ...] = ()

    def cost(self, density: Tensor) -> Tensor:
        """Return the cost at ``density``, a scalar; between points of the curve, interpolate linearly."""
        if len(self.curve) < 2:
            return self.dense * density
        place = bisect_left([point for point, _ in self.curve], float(density.detach()))
        place = min(max(place, 1), len(self.curve) - 1)
        (left, low), (right, high) = self.curve[place - 1], self.curve[place]
        return low + (high - low) / (right - left) * (density - left)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Every gate that acts on this item."""
        return (*([self.block] if self.block else []), *self.rows, *self.cols, *self.scales)


def cost_items(
    model: nn.Module, cost: Mapping[str, Cost] | None = None, feeds: Mapping[str, str] | None = None
) -> tuple[CostItem, ...]:
    """List what the gates of ``model`` act on, with its cost.

    Args:
        model: A model with gates.
        cost: Module-name pattern -> cost of each matched module. Default: ``out * in`` of each linear layer.
        feeds: Producer pattern -> consumer pattern, where the outputs of the producer are the inputs of the consumer:
            a closed neuron or head then also saves the rows that produce it. The n-th ``*`` of both patterns stands
            for the same text.

    Returns:
        One item for each gated linear layer, and one for each gate on a module without linear layers.

    Raises:
        GateError: The model has no gates, ``cost`` leaves a gated module without a cost, or a producer in ``feeds``
            does not fit its consumer.
    """
    modules = dict(model.named_modules())
    consumers = consumers_of(modules, feeds or {})
    items: list[CostItem] = []
    for name, module in modules.items():
        if isinstance(module, nn.Linear):
            item = _linear_item(
                name, module, _input_gates(name, module, consumers.get(name), modules), modules
            )
            items.extend([item] if item.gates else [])
    items.extend(_bare_items(modules, {id(gate) for item in items for gate in item.gates}))
    if not items:
        raise GateError("budget: the model has no gates; call attach first")
    return _with_cost(items, cost)


def _linear_item(
    name: str, module: nn.Linear, fed: tuple[Gate, ...], modules: Mapping[str, nn.Module]
) -> CostItem:
    own = _gates_of(module)
    around = [gate for path in _around(name) for gate in _gates_of(modules[path])]
    return CostItem(
        name=name,
        dense=float(module.in_features * module.out_features),
        shape=(module.out_features, module.in_features),
        block=next((g for g in own if isinstance(g.granularity, Block)), None),
        rows=(*(g for g in own if isinstance(g.granularity, Feature)), *fed),
        cols=tuple(g for g in own if site(g.granularity) == "input"),
        scales=tuple(g for g in around if isinstance(g.granularity, Layer)),
    )


def expected_densities(items: Sequence[CostItem], probability: Callable[[Gate], Tensor]) -> list[Tensor]:
    """Return the expected live fraction of each item, a scalar in [0, 1].

    Args:
        items: What the gates act on.
        probability: Gate -> P(open), ``[*grid]``; called once for each gate.
    """
    cache: dict[int, Tensor] = {}

    def once(gate: Gate) -> Tensor:
        if id(gate) not in cache:
            cache[id(gate)] = probability(gate)
        return cache[id(gate)]

    return [_item_density(item, once) for item in items]


def expected_density(items: Sequence[CostItem], probability: Callable[[Gate], Tensor]) -> Tensor:
    """Return the expected cost of all items divided by their dense cost, a scalar in [0, 1]."""
    densities = expected_densities(items, probability)
    if len(items) == 1 and not items[0].curve:
        return densities[0]
    costs = [item.cost(density) for item, density in zip(items, densities, strict=True)]
    return torch.stack(costs).sum() / sum(item.dense for item in items)


def only_gate(items: Sequence[CostItem]) -> Gate | None:
    """Return the gate whose mean P(open) is the expected density, if a single one is all that ``items`` have."""
    (first, *others) = items
    single = not others and not first.curve and first.block is None and len(first.gates) == 1
    return first.gates[0] if single else None


def _item_density(item: CostItem, probability: Callable[[Gate], Tensor]) -> Tensor:
    if item.block is None and len(item.gates) == 1:
        return probability(
            item.gates[0]
        ).mean()  # whatever it gates; a step of a small model counts in microseconds
    rows = _axis([probability(g) for g in item.rows], item.shape[0], item.block.block[0] if item.block else 1)
    cols = _axis([probability(g) for g in item.cols], item.shape[1], item.block.block[1] if item.block else 1)
    if item.block is not None:
        blocks = probability(item.block)
        live = rows.to(blocks) @ (blocks @ cols.to(blocks))
    else:
        live = rows.sum() * cols.to(rows).sum()
    for gate in item.scales:
        live = live * probability(gate).squeeze(0)
    return live.float() / (item.shape[0] * item.shape[1])


def _axis(probabilities: list[Tensor], size: int, edge: int) -> Tensor:
    """Multiply the gates along one axis, expanded to ``[size]``, and sum in groups of ``edge``."""
    alive = [p.repeat_interleave(size // p.numel()) if p.numel() < size else p for p in probabilities]
    axis = prod(alive[1:], start=alive[0]) if alive else torch.ones(size)
    return nn.functional.pad(axis, (0, -size % edge)).reshape(-1, edge).sum(1) if edge > 1 else axis


def _gates_of(module: nn.Module) -> list[Gate]:
    return [child for child in module.children() if isinstance(child, Gate)]


def _around(name: str) -> list[str]:
    """List the paths of a module and of the modules that contain it, from the inside out."""
    parts = name.split(".") if name else []
    return [".".join(parts[:n]) for n in range(len(parts), -1, -1)]


def _input_gates(
    name: str, module: nn.Linear, path: str | None, modules: Mapping[str, nn.Module]
) -> tuple[Gate, ...]:
    if path is None:
        return ()
    target = modules[path]
    if not isinstance(target, nn.Linear) or target.in_features != module.out_features:
        raise GateError(
            f"budget: feeds says {path!r} reads {name!r}, expected an nn.Linear with {module.out_features} inputs, "
            f"got {target}"
        )
    return tuple(g for g in _gates_of(target) if site(g.granularity) == "input")


def _bare_items(modules: Mapping[str, nn.Module], governed: set[int]) -> list[CostItem]:
    """List the gates on modules without linear layers; each entry of such a gate costs one unit."""
    items = []
    for name, module in modules.items():
        for gate in _gates_of(module):
            if id(gate) not in governed:
                count = gate.log_alpha.numel()
                items.append(CostItem(name, float(count), (count, 1), None, (gate,), (), ()))
    return items


def _with_cost(items: list[CostItem], cost: Mapping[str, Cost] | None) -> tuple[CostItem, ...]:
    if cost is None:
        return tuple(items)
    found = {
        item.name: _curve(pattern, value)
        for pattern, value in cost.items()
        for item in items
        if fnmatchcase(item.name, pattern)
    }
    missing = [item.name for item in items if item.name not in found]
    if missing or max(curve[-1][1] for curve in found.values()) == 0:
        raise GateError(
            f"budget: expected a non-negative cost for every gated module, got none for {missing[:5] or 'any'}"
        )
    return tuple(replace(item, dense=found[item.name][-1][1], curve=found[item.name]) for item in items)


def _curve(pattern: str, cost: Cost) -> tuple[tuple[float, float], ...]:
    given = cost if isinstance(cost, Sequence) else [(1.0, cost)]
    points = tuple((float(density), float(value)) for density, value in given)
    densities = [-1.0, *(density for density, _ in points)]
    rising = all(left < right for left, right in pairwise(densities))
    if not rising or densities[-1] != 1.0 or not all(isfinite(value) and value >= 0.0 for _, value in points):
        raise GateError(
            f"budget: cost of {pattern!r}: expected a number, or points (density, cost) of rising density up to 1, "
            f"none negative, got {cost!r}"
        )
    return points
