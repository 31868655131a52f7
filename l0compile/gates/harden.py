"""Turning trained gates into constants with exact zeros."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Literal

import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates import hard_concrete
from l0compile.gates.apply import fold_gates
from l0compile.gates.budget import Budget
from l0compile.gates.cost import CostItem, cost_items, expected_density
from l0compile.gates.floor import covers, least_open, lifted
from l0compile.gates.gate import Gate, named_gates

Scope = Literal["global", "group"]
Values = Literal["soft", "binary"]
_RULES, _SCOPES, _VALUES = ("median", "top-k"), ("global", "group"), ("soft", "binary")


@dataclass(frozen=True)
class HardenRecord:
    """How a model was hardened. The gates keep this in buffers, so it is part of ``state_dict``.

    Attributes:
        rule: ``"median"`` (open where P(open) > 1/2) or ``"top-k"`` (the same ranking, cut where a density is met).
        scope: ``"global"`` (one ranking of all gates) or ``"group"`` (one per gate module); matters for ``"top-k"``.
        values: ``"soft"`` or ``"binary"``, the values of open gates.
        requested: The density asked for, None for the median rule.
        density: The density achieved, as a fraction of the dense cost.
    """

    rule: str
    scope: str
    values: str
    requested: float | None
    density: float


def harden(
    model: nn.Module,
    density: float | Budget | None = None,
    *,
    scope: Scope = "global",
    values: Values = "soft",
    fold: bool = True,
    floors: Mapping[str, float] | None = None,
    only: str = "*",
) -> nn.Module:
    """Make the gates of ``model`` constants, in place; from then on training changes only weights that are kept.

    Without a density, the gates with P(open) > 1/2 stay open (the median rule). With a density, the gates are ranked by
    ``log_alpha``, and the best ones stay open: with ``scope="global"``, as many of the whole model as cost at most that
    density (nested gates multiply); with ``scope="group"``, a fixed number of each gate module. Among equals the
    earlier gate stays open. The trained ``log_alpha`` is kept, so hardening again starts from it.

    Args:
        model: A model with gates.
        density: None for the median rule. Otherwise a number in [0, 1], or a :class:`Budget`, which stands for its goal
            under its cost.
        scope: ``"global"``, or ``"group"``, which keeps ``round(density * n)`` of the ``n`` gates of each module, or
            ``round(E[open])`` of them under a :class:`Budget`.
        values: Values of open gates. ``"soft"`` keeps the median, which is what training has seen (if the median of a
            kept gate is 0: the median given that it is open). ``"binary"`` sets 1.
        fold: Multiply the gates into the weights, so that ``state_dict()`` has zeros where gates are closed, and the
            layers cost no more than before they had gates. Gates on modules other than linear layers, embeddings and
            norms, and on shared weights, act in every call even so. False leaves the weights as they are and
            multiplies in every call; hardening again can then open gates.
        floors: Name pattern of gated modules -> the share of each one's gates that stays open under every rule, the
            best ones (see :class:`l0compile.gates.floor.Floor`).
        only: Name pattern of the gated modules to harden; the gates of others stay as they are, and count with their
            probability of being open.

    Returns:
        ``model`` itself.

    Raises:
        GateError: The model has no gates, an argument is out of range, floors cost more than the density, or a gate
            would open whose weights an earlier call has set to zero.
    """
    goal = density.goal if isinstance(density, Budget) else density
    _check(scope, values, goal)
    items = density.items if isinstance(density, Budget) else cost_items(model)
    gates = [gate for name, gate in named_gates(model).items() if covers(only, name)]
    if not gates:
        raise GateError(f"harden: only={only!r} matches no module with gates; see named_gates(model)")
    least = least_open(model, floors or {})
    masks = _masks(gates, items, density, goal, scope, least)
    achieved = _live(items, masks)
    rule = _RULES.index("median" if goal is None else "top-k")
    record = [rule, _SCOPES.index(scope), _VALUES.index(values), nan if goal is None else goal, achieved]
    _refuse_to_open(masks)
    for gate, mask in masks.items():
        constants = _constants(gate.log_alpha.detach(), mask, "binary" if gate.is_folded else values)
        gate.set_constant(constants, torch.tensor(record, dtype=torch.float64))
    if fold or any(gate.is_folded for gate in gates):
        fold_gates(model)
    return model


def _check(scope: str, values: str, goal: float | None) -> None:
    if scope not in _SCOPES or values not in _VALUES:
        raise GateError(
            f"harden: expected scope in {_SCOPES}, values in {_VALUES}, got {scope!r}, {values!r}"
        )
    if goal is not None and not 0.0 <= goal <= 1.0:
        raise GateError(f"harden: expected a density in [0, 1], got {goal}")


def hardening(model: nn.Module) -> HardenRecord | None:
    """Return how ``model`` was hardened; None if it has no gates, or a gate that is not hardened."""
    gates = named_gates(model)
    if not gates or unhardened(model):
        return None
    rule, scope, values, requested, density = next(iter(gates.values())).record.tolist()
    wanted = None if isnan(requested) else requested
    return HardenRecord(_RULES[int(rule)], _SCOPES[int(scope)], _VALUES[int(values)], wanted, density)


def unhardened(model: nn.Module) -> tuple[str, ...]:
    """List the names of the gates that are not hardened yet; a model with such gates cannot be compiled."""
    return tuple(name for name, gate in named_gates(model).items() if not gate.is_hardened)


def _masks(
    gates: list[Gate],
    items: Sequence[CostItem],
    density: float | Budget | None,
    goal: float | None,
    scope: Scope,
    least: Mapping[Gate, int],
) -> dict[Gate, Tensor]:
    """Decide which gates stay open, bool ``[*grid]`` for each; ``least``: gate -> how many at least."""
    alphas = [lifted(gate.log_alpha.detach(), least.get(gate, 0)) for gate in gates]
    if goal is None:
        return {gate: alpha > hard_concrete.CLOSED_AT for gate, alpha in zip(gates, alphas, strict=True)}
    if scope == "global":
        ranks = _ranks(torch.cat([alpha.reshape(-1) for alpha in alphas])).split(
            [alpha.numel() for alpha in alphas]
        )
        floor = sum(least.get(gate, 0) for gate in gates)
        return _largest_within(dict(zip(gates, ranks, strict=True)), items, goal, floor)
    keep: Callable[[Tensor], float] = (
        (lambda alpha: float(hard_concrete.open_probability(alpha).double().sum()))
        if isinstance(density, Budget)
        else (lambda alpha: goal * alpha.numel())
    )
    return {
        g: (_ranks(a.reshape(-1)) < max(round(keep(g.log_alpha.detach())), least.get(g, 0))).reshape(a.shape)
        for g, a in zip(gates, alphas, strict=True)
    }


def _ranks(alpha: Tensor) -> Tensor:
    """Rank the entries, 0 for the largest; among equals the earlier one comes first."""
    ranks = torch.empty(alpha.numel(), dtype=torch.int64, device=alpha.device)
    ranks[alpha.argsort(descending=True, stable=True)] = torch.arange(alpha.numel(), device=alpha.device)
    return ranks


def _largest_within(
    ranks: dict[Gate, Tensor], items: Sequence[CostItem], goal: float, floor: int
) -> dict[Gate, Tensor]:
    """Keep as many gates as ``goal`` allows; the density grows with their number, so bisection finds it."""

    def masks(kept: int) -> dict[Gate, Tensor]:
        return {gate: (rank < kept).reshape(gate.log_alpha.shape) for gate, rank in ranks.items()}

    low, high = floor, sum(rank.numel() for rank in ranks.values())
    if floor and _live(items, masks(floor)) > goal + 1e-6:
        raise GateError(
            f"harden: the floors keep {_live(items, masks(floor)):.4f} of the dense cost open, expected at most the "
            f"density {goal:.4f}; lower the floors or ask for a higher density"
        )
    while low < high:
        middle = (low + high + 1) // 2
        # Sums in float32 are off by parts in 1e7; without the slack a set that fits exactly could be refused.
        fits = _live(items, masks(middle)) <= goal + 1e-6
        low, high = (middle, high) if fits else (low, middle - 1)
    return masks(low)


def _refuse_to_open(masks: Mapping[Gate, Tensor]) -> None:
    opened = sum(int((mask & (gate.z == 0)).sum()) for gate, mask in masks.items() if gate.is_folded)
    if opened:
        raise GateError(
            f"harden: {opened} gates would open that were closed before, and their weights are zeros now; expected a "
            "density no higher than the first time. Load the weights again, or harden with fold=False until the "
            "density is final"
        )


def _live(items: Sequence[CostItem], masks: Mapping[Gate, Tensor]) -> float:
    """Return the density that the masks leave, in [0, 1]; gates without a mask count with their probability."""

    def probability(gate: Gate) -> Tensor:
        return masks[gate].float() if gate in masks else gate.open_probability()

    with torch.no_grad():
        return float(expected_density(items, probability))


def _constants(alpha: Tensor, mask: Tensor, values: Values) -> Tensor:
    if values == "binary":
        return mask.to(alpha.dtype)
    median = hard_concrete.median(alpha)
    return torch.where(mask, torch.where(median > 0.0, median, hard_concrete.open_median(alpha)), 0.0)
