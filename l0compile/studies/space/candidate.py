"""From choices to a gated model: what losses weigh, which plan that gives, and the gates that realise it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from l0compile.gates import Block, Granularity, attach, harden, named_gates
from l0compile.gates.granularity import gate_name
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND
from l0compile.pruning.level import Level
from l0compile.pruning.plan import Menu, Plan
from l0compile.studies.space.space import Space

_KINDS = ("weight", "tilt")


@dataclass(frozen=True)
class Choices:
    """One point of a space; what is not named is neutral.

    weight: factor of the losses of a group of gates. tilt: how much more its last layer counts than its first one, as a
    logarithm.
    """

    weight: Mapping[str, float] = field(default_factory=dict)
    tilt: Mapping[str, float] = field(default_factory=dict)

    def to_params(self) -> dict[str, Any]:
        """As Optuna parameters: ``{"weight.ffn": 1.5, "tilt.ffn": -0.2}``."""
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

    def factors(self, members: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
        """The factor of the loss of each member of a group, in their order."""
        found = {}
        for group, names in members.items():
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


def gated(model: nn.Module, plan: Plan, menu: Menu) -> nn.Module:
    """Put gates on `model`, in place, that leave what `plan` says; not hardened."""
    for name, level in plan.layers.items():
        if level.block is None:
            continue
        layer, granularity = _gate_of(name, level, menu)
        attach(model, {layer: granularity})
        gate = named_gates(model)[f"{layer}.{gate_name(granularity)}"]
        live = menu.paths[name][level.block].live(level.number)
        with torch.no_grad():
            alpha = torch.where(live, LOG_ALPHA_BOUND, -LOG_ALPHA_BOUND)
            gate.log_alpha.copy_(alpha.reshape(gate.log_alpha.shape))
    return model


def _gate_of(name: str, level: Level, menu: Menu) -> tuple[str, Granularity]:
    """The layer that a pruned level is of, and what is to be gated there."""
    if name in menu.parts:
        return menu.parts[name].layer, menu.parts[name].granularity
    assert level.block is not None
    return name, Block(*level.block)


def hardened(model: nn.Module) -> nn.Module:
    """Make the gates constants, in place: those open now."""
    return harden(model, values="binary", fold=False) if named_gates(model) else model


def _attached(model: nn.Module, patterns: Mapping[str, Any]) -> list[str]:
    """Attach gates; their names."""
    before = set(named_gates(model))
    if patterns:
        attach(model, patterns)
    return [name for name in named_gates(model) if name not in before]


def unique(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All names, each once, in order."""
    return tuple(dict.fromkeys(name for group in names for name in group))
