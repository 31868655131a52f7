"""The steps that gates take inside a training loop that someone else runs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates import Budget, Gate, harden, named_gates

MakeBudget = Callable[[nn.Module, int], Budget]
"""Called as ``make_budget(model, steps)``; returns the budget under which the gates train."""


class GateSteps:
    """Train the gates of a model, with their own optimiser, inside a loop that trains its weights.

    Call ``hide`` before the loop makes its optimiser, so that the optimiser does not see the gates; ``begin`` once the
    number of steps is known; ``before_step`` between each backward pass and the step of the weights; and ``end``. The
    penalty is differentiated separately, so the loss of the loop stays as it is.

    Each backward pass of the loop leaves a gradient on the gates. It is moved away at once, so that gradient clipping
    neither counts nor scales it, whether the loop clips before ``before_step`` or after. Otherwise a gate would weigh
    a clipped gradient of the loss against an unclipped one of the penalty. Gradients of several backward passes
    between two calls of ``before_step`` add up.

    Args:
        make_budget: Called once the number of steps is known, for example
            ``lambda model, steps: l0.Budget.within(model, 3.0, steps, cost=prices)``.
        rate: Learning rate of the gates.
        harden: Make the gates constants at the end, within the budget.

    Attributes:
        budget: The budget that ``make_budget`` made, None before ``begin``.
    """

    def __init__(self, make_budget: MakeBudget, rate: float = 0.1, harden: bool = True) -> None:
        self._make, self._rate, self._harden = make_budget, rate, harden
        self.budget: Budget | None = None
        self._optimiser: torch.optim.Optimizer | None = None
        self._gradients: dict[Tensor, Tensor] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def hide(self, model: nn.Module) -> None:
        """Keep the gates out of the optimiser that the loop will make.

        Args:
            model: A model with gates.

        Raises:
            GateError: The model has no gates.
        """
        for gate in self._gates(model):
            gate.log_alpha.requires_grad_(False)

    def begin(self, model: nn.Module, steps: int) -> None:
        """Make the budget, and let the gates learn.

        Args:
            model: A model with gates.
            steps: Number of training steps.

        Raises:
            GateError: The model has no gates, or ``Budget`` refuses an argument.
        """
        for gate in self._gates(model):
            gate.log_alpha.requires_grad_(True)
        self.budget = self._make(model, steps)
        self._optimiser = torch.optim.Adam([self.budget.param_group(self._rate)])
        self._leave()
        for alpha in self.budget.parameters():
            self._hooks.append(alpha.register_post_accumulate_grad_hook(self._take))

    def before_step(self, loss_scale: float = 1.0) -> None:
        """Take one step with the gates, on the gradients that the loss has left since the last step.

        Args:
            loss_scale: The factor by which the loop multiplied its loss (``torch.amp.GradScaler.get_scale()``). With a
                factor other than 1, a step with an infinite or undefined gradient is skipped, as the scaler skips it
                for the weights.

        Raises:
            GateError: ``begin`` was not called.
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
        """Stop training the gates, and harden them if ``harden`` was set."""
        self._leave()
        if self._harden:
            harden(model, self.budget)

    def _take(self, alpha: Tensor) -> None:
        """Move the gradient of a gate to where the loop does not see it."""
        gradient, before = alpha.grad, self._gradients.get(alpha)
        if gradient is not None:
            self._gradients[alpha] = gradient if before is None else before + gradient
        alpha.grad = None

    def _unscale(self, scale: float) -> bool:
        """Divide the gradients of the loss by ``scale``; return whether all are finite."""
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
