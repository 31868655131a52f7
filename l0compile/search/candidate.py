"""From choices to a gated model: gates attached, set from second-order losses at the chosen densities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from l0compile.gates import Budget, attach, harden, init_from_scores, named_gates
from l0compile.gates.gate import Gate
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND
from l0compile.gates.initialise import SURELY_CLOSED, SURELY_OPEN
from l0compile.search.curvature import Curvature, gate_losses
from l0compile.search.space import Space

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
        """Inverse of `to_params`; densities are rounded, other keys ignored."""
        density: dict[str, float] = {}
        shape: dict[str, tuple[int, int]] = {}
        for key, value in params.items():
            kind, _, name = key.partition(".")
            if kind == "density":
                density[name] = round(float(value), 4)
            elif kind == "shape":
                rows, _, cols = value.partition("x")
                shape[name] = (int(rows), int(cols))
        return cls(density, shape)

    def scaled(self, space: Space, factor: float) -> "Choices":
        """The same shapes with the densities of block groups times `factor`, inside the ranges of `space`, rounded."""
        density = dict(self.density)
        for group in space.gates:
            if group.kind == "block":
                low, high = group.density
                density[group.name] = round(min(max(density[group.name] * factor, low), high), 2)
        return Choices(density, self.shape)


def gated_layer_names(dense: nn.Module, space: Space) -> tuple[str, ...]:
    """Linear layers of a dense model on which `space` puts gates; the gates are attached in place.

    Raises GateError for a pattern without match.
    """
    owners = _attach(dense, space, {})
    return tuple(dict.fromkeys(name.rpartition(".")[0] for names in owners.values() for name in names))


def gated(
    dense: nn.Module,
    space: Space,
    choices: Choices,
    curvature: Mapping[str, Curvature],
    *,
    band: float = 0.0,
) -> nn.Module:
    """Put gates on `dense`, in place, that keep the best-scored share of every group; not hardened yet.

    `band`: share of a group's gates that start undecided, for training them; 0 for a hard choice.
    """
    owners = _attach(dense, space, choices.shape)
    losses = gate_losses(dense, curvature)
    for group in space.gates:
        scores = {name: losses[name] for name in owners[group.name]}
        init_from_scores(dense, scores, choices.density[group.name], scope="global", band=band)
    for gate in named_gates(dense).values():
        _settle(gate)
    return dense


def hardened(model: nn.Module, budget: Budget | None = None) -> nn.Module:
    """Make the gates constants, in place: those open now, or with `budget` the best-ranked ones that meet it."""
    return harden(model, values="binary") if budget is None else harden(model, budget, values="soft")


def _attach(model: nn.Module, space: Space, shapes: Mapping[str, tuple[int, int]]) -> dict[str, list[str]]:
    """Attach every group's gates (the first block shape where none is chosen); names of the gates by group."""
    owners: dict[str, list[str]] = {}
    for group in space.gates:
        before = set(named_gates(model))
        attach(model, dict.fromkeys(group.patterns, group.granularity(shapes.get(group.name))))
        owners[group.name] = [name for name in named_gates(model) if name not in before]
    return owners


def _settle(gate: Gate) -> None:
    """Move gates outside the band to the bounds.

    At P(open) = 0.99 one in five would still be noisy in training.
    """
    with torch.no_grad():
        alpha = gate.log_alpha
        alpha[alpha >= SURELY_OPEN] = LOG_ALPHA_BOUND
        alpha[alpha <= SURELY_CLOSED] = -LOG_ALPHA_BOUND
