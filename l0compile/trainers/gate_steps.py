"""The steps that gates take inside a training loop that someone else runs."""

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.distributed as dist
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

    The gates draw their noise from a generator of their own. In a process group (``torch.distributed``) it has the same
    seed on every rank, and gradients are averaged over ranks, so gates and masks are the same on all of them.

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
        self._generator: torch.Generator | None = None
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
        generator = _same_on_all_ranks(self._gates(model)[0].log_alpha.device)
        for gate in self._gates(model):
            gate.log_alpha.requires_grad_(True)
            gate.generator = generator
        self._generator = generator
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
        _average_over_ranks(self.budget.parameters(), self._gradients)
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
        for gate in self._gates(model):
            gate.generator = None
        if self._harden:
            harden(model, self.budget)

    def facts(self) -> dict[str, float]:
        """Return, for progress and logs: the expected active fraction, the one allowed now, and the multiplier.

        Raises:
            GateError: ``begin`` was not called.
        """
        budget, _, _ = self._begun()
        return {"active": budget.density, "allowed": budget.target, "multiplier": budget.multiplier}

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the next steps depend on besides the model: moments, budget and noise.

        Raises:
            GateError: ``begin`` was not called.
        """
        budget, optimiser, generator = self._begun()
        found = budget.state_dict() | {"noise": generator.get_state()}
        for place, alpha in enumerate(budget.parameters()):
            for name, value in optimiser.state[alpha].items():
                found[f"{name}.{place}"] = value.detach().clone()
        return found

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called; call it after ``begin``. The model brings its gates itself.

        Raises:
            GateError: ``begin`` was not called, or ``state`` is of other gates.
        """
        budget, optimiser, generator = self._begun()
        parameters = list(budget.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, number = key.rpartition(".")
            if name:
                moments.setdefault(int(number), {})[name] = value
        shapes = {place: found["exp_avg"].shape for place, found in moments.items()}
        if shapes and shapes != {place: alpha.shape for place, alpha in enumerate(parameters)}:
            raise GateError(
                f"gates: expected the state of {len(parameters)} gate modules of the same shapes, got {shapes}"
            )
        budget.load_state_dict(state)
        generator.set_state(state["noise"].cpu())
        for place, found in moments.items():
            optimiser.state[parameters[place]] = {name: value.clone() for name, value in found.items()}

    def _begun(self) -> tuple[Budget, torch.optim.Optimizer, torch.Generator]:
        if self.budget is None or self._optimiser is None or self._generator is None:
            raise GateError("gates: expected a call of begin before this one")
        return self.budget, self._optimiser, self._generator

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


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _same_on_all_ranks(device: torch.device) -> torch.Generator:
    """Make a generator whose seed comes from the global one; of several processes, from that of rank 0."""
    seed = torch.randint(1 << 62, (1,), device=device)
    if _ranks() > 1:
        dist.broadcast(seed, 0)
    return torch.Generator(device).manual_seed(int(seed))


def _average_over_ranks(parameters: Iterable[Tensor], gradients: dict[Tensor, Tensor]) -> None:
    """Average gradients, which a wrapper for several processes never saw: it was made while gates were hidden."""
    if _ranks() == 1:
        return
    for (
        alpha
    ) in parameters:  # in the same order everywhere; a rank whose batch missed a gate takes part with zeros
        gradient = gradients.setdefault(alpha, torch.zeros_like(alpha))
        dist.all_reduce(gradient)
        gradient.div_(_ranks())
