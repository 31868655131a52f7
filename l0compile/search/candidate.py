"""From choices to a gated model: gates attached, set from second-order losses at the chosen densities, weights repaired."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.gates import Budget, attach, dense_weight, harden, init_from_scores, named_gates
from l0compile.gates.cost import cost_items, expected_density
from l0compile.gates.gate import Gate
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND
from l0compile.gates.initialise import SURELY_CLOSED, SURELY_OPEN
from l0compile.search.second_order import Curvature, gate_losses, repair
from l0compile.search.space import GateGroup, Space

DENSITY_STEP = 0.01


@dataclass(frozen=True)
class Choices:
    """One point of a space: for each gate group its density, and for groups of blocks its block shape."""

    density: Mapping[str, float]
    shape: Mapping[str, tuple[int, int]]

    def to_params(self) -> dict[str, Any]:
        """As Optuna parameters: ``{"density.ffn": 0.5, "shape.ffn": "4x1"}``."""
        densities = {f"density.{name}": value for name, value in self.density.items()}
        return densities | {f"shape.{name}": f"{rows}x{cols}" for name, (rows, cols) in self.shape.items()}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Choices":
        """Inverse of `to_params`."""
        density = {key.partition(".")[2]: value for key, value in params.items() if key.startswith("density.")}
        shapes = {key.partition(".")[2]: value for key, value in params.items() if key.startswith("shape.")}
        pairs = {name: tuple(map(int, text.split("x"))) for name, text in shapes.items()}
        return cls(density, {name: (rows, cols) for name, (rows, cols) in pairs.items()})

    def scaled(self, space: Space, factor: float) -> "Choices":
        """The same shapes with the densities of block groups times `factor`, inside the ranges of `space`, rounded."""
        density = dict(self.density)
        for group in space.gates:
            if group.kind == "block":
                low, high = group.density
                density[group.name] = round(min(max(density[group.name] * factor, low), high), 2)
        return Choices(density, self.shape)


def gated_layers(model: nn.Module, space: Space) -> tuple[str, ...]:
    """Names of the linear layers of a dense model on which `space` puts gates. Raises GateError for a pattern without match."""
    probe = Choices({}, {group.name: group.shapes[0] for group in space.gates if group.kind == "block"})
    owners = _attach(model, space, probe)
    return tuple(dict.fromkeys(name.rpartition(".")[0] for names in owners.values() for name in names))


def build_candidate(
    dense: nn.Module, space: Space, choices: Choices, curvature: Mapping[str, Curvature], *, band: float = 0.0
) -> nn.Module:
    """Put gates on `dense` (in place) that keep the best-scored share of every group, and repair the weights that are left.

    `band`: share of a group's gates that start undecided, for training them; 0 for a hard choice. Gates are not hardened yet.
    """
    owners = _attach(dense, space, choices)
    losses = gate_losses(dense, curvature)
    for group in space.gates:
        scores = {name: losses[name] for name in owners[group.name]}
        init_from_scores(dense, scores, choices.density[group.name], scope="global", band=band)
    for gate in named_gates(dense).values():
        _settle(gate)
    repair(dense, curvature)
    return dense


def hardened(model: nn.Module, budget: Budget | None = None) -> nn.Module:
    """Make the gates constants: those that are open now, or with `budget` the best-ranked ones that meet it."""
    return harden(model, values="binary") if budget is None else harden(model, budget, values="soft")


def cost_density(model: nn.Module, feeds: Mapping[str, str]) -> float:
    """Live share of the gated layers' multiplications, nested gates multiplied, with each gate open or closed as it stands."""
    with torch.no_grad():
        return float(expected_density(cost_items(model, feeds=feeds), _support))


def structure(model: nn.Module) -> str:
    """Hash of which weights of the gated layers are live and of the block shapes: what decides latency and training."""
    digest = hashlib.sha256()
    for name, gate in named_gates(model).items():
        digest.update(f"{name} {gate.block} ".encode())
        digest.update(bytes(_support(gate).bool().flatten().tolist()))
    return digest.hexdigest()[:16]


def live_weights(model: nn.Module) -> tuple[int, int]:
    """(nonzero, all) weights of the gated linear layers."""
    layers = {name.rpartition(".")[0] for name in named_gates(model)}
    weights = [model.get_submodule(name) for name in sorted(layers)]
    return (
        sum(int((module.weight != 0).sum()) for module in weights if isinstance(module, nn.Linear)),
        sum(dense_weight(module).numel() for module in weights if isinstance(module, nn.Linear)),
    )


def _attach(model: nn.Module, space: Space, choices: Choices) -> dict[str, list[str]]:
    """Attach every group's gates; names of the gates by group."""
    owners: dict[str, list[str]] = {}
    for group in space.gates:
        before = set(named_gates(model))
        attach(model, dict.fromkeys(group.patterns, _granularity(group, choices)))
        owners[group.name] = [name for name in named_gates(model) if name not in before]
    return owners


def _granularity(group: GateGroup, choices: Choices) -> Any:
    return group.granularity(choices.shape.get(group.name))


def _settle(gate: Gate) -> None:
    """Move gates outside the band to the bounds: at the default P(open) = 0.99 one in five would still be noisy in training."""
    with torch.no_grad():
        alpha = gate.log_alpha
        alpha[alpha >= SURELY_OPEN] = LOG_ALPHA_BOUND
        alpha[alpha <= SURELY_CLOSED] = -LOG_ALPHA_BOUND


def _support(gate: Gate) -> Tensor:
    training = gate.training
    value = gate.eval().value().detach()
    gate.train(training)
    return (value > 0).float()
