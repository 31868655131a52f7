"""A floor: the share of a module's gates that stays open whatever the others do, in training and in hardening."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import ceil, inf

import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates.gate import Gate, named_gates
from l0compile.gates.hard_concrete import OPEN_AT


def least_open(model: nn.Module, floors: Mapping[str, float]) -> dict[Gate, int]:
    """Count how many entries of each gate have to stay open.

    Args:
        model: A model with gates.
        floors: Name pattern of gated modules (as in ``attach``) -> the share of each one's gates, in [0, 1]. The
            largest share counts where several patterns match.

    Returns:
        Gate -> ``ceil(share * n)`` of its n entries.

    Raises:
        GateError: A share is out of range, or a pattern matches no module with gates.
    """
    found: dict[Gate, int] = {}
    for pattern, share in floors.items():
        matched = {name: gate for name, gate in named_gates(model).items() if covers(pattern, name)}
        if not matched or not 0.0 <= share <= 1.0:
            raise GateError(
                f"floors: {pattern!r}: expected the name pattern of modules with gates and a share in [0, 1], got "
                f"{len(matched)} matches and {share}"
            )
        for gate in matched.values():
            # Without the slack, 0.1 of 30 entries would be 4: 0.1 * 30 is slightly more than 3.
            found[gate] = max(found.get(gate, 0), ceil(share * gate.log_alpha.numel() - 1e-9))
    return found


def covers(pattern: str, gate: str) -> bool:
    """Return whether a pattern of module names matches the module of the gate at this path."""
    return fnmatchcase(gate.rpartition(".")[0], pattern)


def lifted(alpha: Tensor, count: int) -> Tensor:
    """Return ``alpha`` with its ``count`` largest entries set to infinity, so that every rule keeps them open."""
    if not count:
        return alpha
    flat = alpha.reshape(-1).clone()
    flat[flat.argsort(descending=True, stable=True)[:count]] = inf
    return flat.reshape(alpha.shape)


class Floor:
    """Keep a share of the gates of some modules open while a model trains: call ``step()`` after the optimiser's step.

    Of each module the best entries have ``log_alpha`` of at least ``OPEN_AT`` from then on, where the median gate is 1.
    Which ones these are may change as long as training moves them. Give the same floors to ``harden``.

    Args:
        model: A model with gates.
        floors: Name pattern of gated modules -> share, see :func:`least_open`.

    Raises:
        GateError: A share is out of range, or a pattern matches no module with gates.
    """

    def __init__(self, model: nn.Module, floors: Mapping[str, float]) -> None:
        self._least = least_open(model, floors)

    def step(self) -> None:
        """Lift gates that are below the floor."""
        with torch.no_grad():
            for gate, count in self._least.items():
                if count and not gate.is_hardened:
                    flat = gate.log_alpha.view(-1)
                    best = flat.topk(count).indices
                    flat[best] = flat[best].clamp(min=OPEN_AT)
