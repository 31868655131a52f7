"""What has to happen to gates in every step of a training loop, whoever runs the loop."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates import Budget, Gate, harden, named_gates

MakeBudget = Callable[[nn.Module, int], Budget]
"""(model, training steps) -> the budget that the gates are to keep."""


class GateSteps:
    """Trains the gates of a model beside a loop that trains its weights: with an optimiser and a rate of their own.

    The penalty has gradients of its own, so the loop's loss stays as it is. In order: ``hide`` before the loop makes
    its optimiser, which then does not see the gates; ``begin``; ``before_step`` between each backward pass and the step
    of the weights; ``end``.

    What the loss says of a gate is taken away as soon as a backward pass has made it. Clipping therefore neither sees
    it nor changes it, whether a loop clips before ``before_step`` or after: the price of a gate would otherwise be what
    the loss pays after clipping against what the penalty asks without. The backward passes between two calls of
    ``before_step`` add up.

    Args:
        make_budget: called once the number of steps is known, for example
            ``lambda model, steps: l0.Budget.within(model, 3.0, steps, cost=prices)``.
        rate: learning rate of the gates. harden: make gates constants at the end, within the budget.
    """

    def __init__(self, make_budget: MakeBudget, rate: float = 0.1, harden: bool = True) -> None:
        self._make, self._rate, self._harden = make_budget, rate, harden
        self.budget: Budget | None = None
        self._optimiser: torch.optim.Optimizer | None = None
        self._gradients: dict[Tensor, Tensor] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

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
        self._leave()
        for alpha in self.budget.parameters():
            self._hooks.append(alpha.register_post_accumulate_grad_hook(self._take))

    def before_step(self, loss_scale: float = 1.0) -> None:
        """One step of the gates, with the gradients of the loss that have come since the last one.

        Args:
            loss_scale: what the loop multiplied its loss by (``torch.amp.GradScaler.get_scale()``). As the scaler
                does for weights, a scaled step with an infinite or undefined gradient is left out.
        """
        if self.budget is None or self._optimiser is None:
            raise GateError("gates: before_step was called before begin")
        sound = self._unscale(loss_scale)
        penalty = self.budget.penalty()
        if penalty.requires_grad:
            penalty.backward()
        if sound:
            for alpha, gradient in self._gradients.items():
                alpha.grad = gradient
            self._optimiser.step()
        self._optimiser.zero_grad()
        self._gradients.clear()
        self.budget.step()

    def end(self, model: nn.Module) -> None:
        """Make the gates constants, if that is wanted."""
        self._leave()
        if self._harden:
            harden(model, self.budget)

    def _take(self, alpha: Tensor) -> None:
        """Move a gradient out of reach of the loop."""
        gradient, before = alpha.grad, self._gradients.get(alpha)
        if gradient is not None:
            self._gradients[alpha] = gradient if before is None else before + gradient
        alpha.grad = None

    def _unscale(self, scale: float) -> bool:
        """Divide what the loss gave by ``scale``; whether it can be used."""
        if scale == 1.0:
            return True
        for gradient in self._gradients.values():
            gradient.div_(scale)
        return all(bool(gradient.isfinite().all()) for gradient in self._gradients.values())

    def _leave(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._gradients.clear()

    def _gates(self, model: nn.Module) -> list[Gate]:
        found = list(named_gates(model).values())
        if not found:
            raise GateError("gates: the model has none; call l0compile.attach first")
        return found
