"""From choices to a gated model: what losses weigh, which plan that gives, and the gates that realise it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from l0compile.gates import Block, Gate, attach, harden, init_from_scores, named_gates
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND
from l0compile.gates.initialise import SURELY_CLOSED, SURELY_OPEN
from l0compile.oneshot.curvature import Curvature, gate_losses
from l0compile.oneshot.plan import Menu, Plan
from l0compile.search.space import GateGroup, Space

DENSITY_STEP = 0.01
_KINDS = ("weight", "tilt", "density")


@dataclass(frozen=True)
class Choices:
    """One point of a space; what is not named is neutral.

    weight: factor of the losses of a group of blocks. tilt: how much more its last layer counts than its first one,
    as a logarithm. density: share of the gates that stay, of a group of heads or neurons.
    """

    weight: Mapping[str, float] = field(default_factory=dict)
    tilt: Mapping[str, float] = field(default_factory=dict)
    density: Mapping[str, float] = field(default_factory=dict)

    def to_params(self) -> dict[str, Any]:
        """As Optuna parameters: ``{"weight.ffn": 1.5, "tilt.ffn": -0.2, "density.heads": 0.9}``."""
        return {f"{kind}.{name}": value for kind in _KINDS for name, value in getattr(self, kind).items()}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Choices":
        """Inverse of `to_params`; other keys are ignored."""
        found: dict[str, dict[str, float]] = {kind: {} for kind in _KINDS}
        for key, value in params.items():
            kind, _, name = key.partition(".")
            if kind in found:
                found[kind][name] = round(float(value), 4)
        return cls(**found)

    def factors(self, layers: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
        """The factor of each layer's loss; ``layers``: of each group of blocks, in order."""
        found = {}
        for group, names in layers.items():
            for place, name in enumerate(names):
                position = place / (len(names) - 1) - 0.5 if len(names) > 1 else 0.0
                found[name] = self.weight.get(group, 1.0) * math.exp(self.tilt.get(group, 0.0) * position)
        return found


def layers_of(dense: nn.Module, space: Space) -> dict[str, tuple[str, ...]]:
    """The linear layers of each group of `space`, in module order; `dense` is left with gates on all of them.

    Raises GateError for a pattern without match, and for a layer in two groups of blocks.
    """
    found: dict[str, tuple[str, ...]] = {}
    for group in space.gates:
        names = _attached(dense, dict.fromkeys(group.patterns, group.granularity(None)))
        found[group.name] = tuple(dict.fromkeys(name.rpartition(".")[0] for name in names))
    return found


def gated(
    dense: nn.Module,
    space: Space,
    plan: Plan,
    menu: Menu,
    choices: Choices = Choices(),
    curvature: Mapping[str, Curvature] | None = None,
) -> nn.Module:
    """Put gates on `dense`, in place, that leave what `plan` says, and of heads and neurons the best; not hardened."""
    blocks = {name: Block(*level.block) for name, level in plan.layers.items() if level.block is not None}
    for gate_name in _attached(dense, blocks):
        name = gate_name.rpartition(".")[0]
        level = plan.layers[name]
        live = menu.paths[name][blocks[name].rows, blocks[name].cols].live(level.number)
        with torch.no_grad():
            named_gates(dense)[gate_name].log_alpha.copy_(
                torch.where(live, LOG_ALPHA_BOUND, -LOG_ALPHA_BOUND)
            )
    for group in space.gates:
        if group.kind != "block":
            _whole(dense, group, choices, curvature or {})
    return dense


def hardened(model: nn.Module) -> nn.Module:
    """Make the gates constants, in place: those open now."""
    return harden(model, values="binary") if named_gates(model) else model


def _whole(dense: nn.Module, group: GateGroup, choices: Choices, curvature: Mapping[str, Curvature]) -> None:
    """Gates on heads or neurons, the best-scored share of the group open."""
    names = _attached(dense, dict.fromkeys(group.patterns, group.granularity(None)))
    losses = gate_losses(dense, curvature)
    density = choices.density.get(group.name, group.density[1])
    init_from_scores(dense, {name: losses[name] for name in names}, density, scope="global", band=0.0)
    for name in names:
        _settle(named_gates(dense)[name])


def _attached(model: nn.Module, patterns: Mapping[str, Any]) -> list[str]:
    """Attach gates; their names."""
    before = set(named_gates(model))
    if patterns:
        attach(model, patterns)
    return [name for name in named_gates(model) if name not in before]


def _settle(gate: Gate) -> None:
    """Move gates outside the band to the bounds.

    At P(open) = 0.99 one in five would still be noisy in training.
    """
    with torch.no_grad():
        alpha = gate.log_alpha
        alpha[alpha >= SURELY_OPEN] = LOG_ALPHA_BOUND
        alpha[alpha <= SURELY_CLOSED] = -LOG_ALPHA_BOUND


def unique(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All names, each once, in order."""
    return tuple(dict.fromkeys(name for group in names for name in group))
