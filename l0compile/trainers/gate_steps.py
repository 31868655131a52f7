"""What has to happen to gates in every step of a training loop, whoever runs the loop."""

from collections.abc import Callable

import torch
from torch import nn

from l0compile.errors import GateError
from l0compile.gates import Budget, Gate, harden, named_gates

MakeBudget = Callable[[nn.Module, int], Budget]
"""(model, training steps) -> the budget that the gates are to keep."""


class GateSteps:
    """Trains the gates of a model beside a loop that trains its weights: with an optimiser and a rate of their own.

    The penalty has gradients of its own, so the loop's loss stays as it is. In order: ``hide`` before the loop makes
    its optimiser, which then does not see the gates; ``begin``; ``before_step`` between each backward pass and the step
    of the weights; ``end``.

    Args:
        make_budget: called once the number of steps is known, for example
            ``lambda model, steps: l0.Budget.within(model, 3.0, steps, cost=prices)``.
        rate: learning rate of ``log_alpha``. harden: make gates constants at the end, within the budget.
    """

    def __init__(self, make_budget: MakeBudget, rate: float = 0.1, harden: bool = True) -> None:
        self._make, self._rate, self._harden = make_budget, rate, harden
        self.budget: Budget | None = None
        self._optimiser: torch.optim.Optimizer | None = None

    def hide(self, model: nn.Module) -> None:
        """Take the gates out of what an optimiser is given. Raises GateError for a model without gates."""
        for gate in self._gates(model):
            gate.log_alpha.requires_grad_(False)

    def begin(self, model: nn.Module, steps: int) -> None:
        """Make the budget for so many steps, and let the gates learn. Raises GateError as ``Budget`` does."""
        for gate in self._gates(model):
            gate.log_alpha.requires_grad_(True)
        self.budget = self._make(model, steps)
        self._optimiser = torch.optim.Adam([self.budget.param_group(self._rate)])

    def before_step(self) -> None:
        """One step of the gates, with the gradients of the loss that are there."""
        if self.budget is None or self._optimiser is None:
            raise GateError("gates: before_step was called before begin")
        penalty = self.budget.penalty()
        if penalty.requires_grad:
            penalty.backward()
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.budget.step()

    def end(self, model: nn.Module) -> None:
        """Make the gates constants, if that is wanted."""
        if self._harden:
            harden(model, self.budget)

    def _gates(self, model: nn.Module) -> list[Gate]:
        found = list(named_gates(model).values())
        if not found:
            raise GateError("gates: the model has none; call l0compile.attach first")
        return found
