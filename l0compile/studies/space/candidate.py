"""From the choices of a trial to a gated model."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from l0compile.gates import Block, Granularity, attach, harden, named_gates
from l0compile.gates.granularity import gate_name
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND
from l0compile.studies.pruning.allocation import Allocation, Menu
from l0compile.studies.pruning.level import Level
from l0compile.studies.space.space import Space

_KINDS = ("weight", "tilt")


@dataclass(frozen=True)
class Choices:
    """One point of a space; groups that are missing are neutral.

    weight: group of gates -> factor of its losses. tilt: group -> logarithm of how much more its last layer counts than
    its first one.
    """

    weight: Mapping[str, float] = field(default_factory=dict)
    tilt: Mapping[str, float] = field(default_factory=dict)

    def to_params(self) -> dict[str, Any]:
        """Convert to Optuna parameters: ``{"weight.ffn": 1.5, "tilt.ffn": -0.2}``."""
        return {f"{kind}.{name}": value for kind in _KINDS for name, value in getattr(self, kind).items()}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Choices":
        """Invert `to_params`; ignore other keys."""
        found: dict[str, dict[str, float]] = {kind: {} for kind in _KINDS}
        for key, value in params.items():
            kind, _, name = key.partition(".")
            if kind in found:
                found[kind][name] = round(float(value), 4)
        return cls(**found)

    def factors(self, members: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
        """Return the factor of each layer's loss, given the members of each group in their order."""
        found = {}
        for group, names in members.items():
            for place, name in enumerate(names):
                position = place / (len(names) - 1) - 0.5 if len(names) > 1 else 0.0
                found[name] = self.weight.get(group, 1.0) * math.exp(self.tilt.get(group, 0.0) * position)
        return found


def layers_of(dense: nn.Module, space: Space) -> dict[str, tuple[str, ...]]:
    """Attach the gates of ``space`` to ``dense``, and return the linear layers of each group in module order.

    Raises:
        GateError: a pattern matches nothing, or a layer is in two groups of blocks.
    """
    found: dict[str, tuple[str, ...]] = {}
    for group in space.gates:
        names = _attached(dense, dict.fromkeys(group.patterns, group.granularity(None)))
        found[group.name] = tuple(dict.fromkeys(name.rpartition(".")[0] for name in names))
    return found


def gated(model: nn.Module, allocation: Allocation, menu: Menu) -> nn.Module:
    """Attach gates to ``model``, in place, that leave what ``allocation`` says; don't harden them."""
    for name, level in allocation.layers.items():
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
    """Return the layer that a pruned level belongs to, and the granularity of its gate."""
    if name in menu.units:
        return menu.units[name].layer, menu.units[name].granularity
    assert level.block is not None
    return name, Block(*level.block)


def hardened(model: nn.Module) -> nn.Module:
    """Turn the gates into constants, in place: those open now stay open."""
    return harden(model, values="binary", fold=False) if named_gates(model) else model


def _attached(model: nn.Module, patterns: Mapping[str, Any]) -> list[str]:
    """Attach gates, and return the names of the new ones."""
    before = set(named_gates(model))
    if patterns:
        attach(model, patterns)
    return [name for name in named_gates(model) if name not in before]


def unique(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return all names in order, each once."""
    return tuple(dict.fromkeys(name for group in names for name in group))
