"""A limit on the expected cost of a gated model, met during training by means of a Lagrange multiplier."""

from collections.abc import Iterator, Mapping
from math import cos, pi
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates.cost import Cost, cost_items, expected_density, only_gate
from l0compile.gates.gate import Gate, named_gates
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND, open_probability

BudgetSchedule = Literal["dual", "anneal"]


# Besides adding to the multiplier, a violation scales it by up to this fraction a step: with sums alone the multiplier
# takes too long to suit a loss of large scale (at 5 % a step, 100 steps cover a factor of 130).
_GROWTH = 0.05


class Budget:
    """Keep the expected density of a gated model within a target while it trains.

    Add ``budget.penalty()`` to the loss of every step, and call ``budget.step()`` after the optimiser's step. Density
    is the expected cost of the gated modules divided by their dense cost; nested gates multiply (see ``cost_items``).

    ``schedule="dual"`` (default) solves ``min loss s.t. density <= target`` by ascent on one multiplier m, where v is
    the violation: ``m <- m (1 + min(v, 0.05)) + dual_lr v``, and ``m <- 0`` whenever the constraint holds (dual
    restarts: Gallego-Posada et al., NeurIPS 2022). The target falls linearly from the density at construction to
    ``density`` over ``warmup`` of the steps, after ``delay`` of them.

    ``schedule="anneal"`` has no target. The multiplier is 0 for the first 10 % of the steps, rises to ``strength``
    along a cosine until 60 %, and stays there.

    Args:
        model: A model with gates.
        density: The density to reach, in (0, 1].
        steps: Number of training steps; both schedules need it.
        schedule: ``"dual"`` or ``"anneal"``.
        cost: Module-name pattern -> cost of the dense module, a number or a curve (see ``Cost``), for example the
            milliseconds that ``l0compile.gate_prices`` measures. Default: the number of weights of each linear layer.
        feeds: Producer pattern -> consumer pattern, so that a closed neuron or head also saves the rows that produce
            it, for example ``{"encoder.layer.*.intermediate.dense": "encoder.layer.*.output.dense"}``.
        warmup: Fraction of the steps during which the target falls, in [0, 1].
        delay: Fraction of the steps before it starts to fall; with ``warmup`` at most 1.
        dual_lr: Ascent step for a violation of 1. Default: ``1000 / steps``.
        strength: Final multiplier of ``"anneal"``.

    Attributes:
        goal: The density to reach.
        multiplier: The Lagrange multiplier now.
        done: Number of calls of ``step`` so far.
        items: What the gates act on, with its cost.

    Raises:
        GateError: The model has no gates, or an argument is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        density: float,
        steps: int,
        *,
        schedule: BudgetSchedule = "dual",
        cost: Mapping[str, Cost] | None = None,
        feeds: Mapping[str, str] | None = None,
        warmup: float = 0.5,
        delay: float = 0.0,
        dual_lr: float | None = None,
        strength: float = 1.0,
    ) -> None:
        if (
            not 0.0 < density <= 1.0
            or steps < 1
            or not (warmup >= 0.0 <= delay and warmup + delay <= 1.0)
            or schedule not in ("dual", "anneal")
        ):
            raise GateError(
                "Budget: expected density in (0, 1], steps >= 1, warmup and delay of 0 or more, at most 1 together, "
                f"and schedule 'dual' or 'anneal', got density={density}, steps={steps}, warmup={warmup}, "
                f"delay={delay}, schedule={schedule!r}"
            )
        self.items = cost_items(model, cost, feeds)
        self.goal, self.steps, self.schedule = density, steps, schedule
        self.warmup, self.delay = warmup, delay
        self.dual_lr = 1000.0 / steps if dual_lr is None else dual_lr
        self.strength = strength
        self.multiplier = 0.0
        self.done = 0
        self._gates: list[Gate] = list({id(g): g for item in self.items for g in item.gates}.values())
        self._only = only_gate(self.items)
        self._latest: Tensor | None = None
        self._start = self.density

    @classmethod
    def within(
        cls, model: nn.Module, limit: float, steps: int, *, cost: Mapping[str, Cost], **options: Any
    ) -> "Budget":
        """Make a budget from a limit on the cost, for example in milliseconds, instead of a density.

        Args:
            model: A model with gates.
            limit: The most that all gated modules together may cost, in the unit of ``cost``; above 0.
            steps: Number of training steps.
            cost: Module-name pattern -> cost of the dense module, as for the class.
            options: The other keyword arguments of the class.

        Returns:
            A budget whose ``goal`` is ``limit`` divided by the dense cost, at most 1.

        Raises:
            GateError: The limit is not above 0, or the class refuses an argument.
        """
        total = sum(item.dense for item in cost_items(model, cost, options.get("feeds")))
        if not limit > 0.0:
            raise GateError(f"Budget.within: limit: expected more than 0, got {limit}")
        return cls(model, min(1.0, limit / total), steps, cost=cost, **options)

    @property
    def density(self) -> float:
        """Expected cost now, as a fraction of the dense cost, in [0, 1]; exact once the gates are hardened."""
        with torch.no_grad():
            return float(expected_density(self.items, Gate.open_probability))

    @property
    def target(self) -> float:
        """The density that the current step has to keep, in (0, 1]."""
        begin, length = self.delay * self.steps, self.warmup * self.steps
        part = 1.0 if self.done >= begin + length else max(self.done - begin, 0.0) / length
        return max(self._start * (1.0 - part) + self.goal * part, self.goal)

    def penalty(self) -> Tensor:
        """Return the scalar to add to the loss, differentiable in ``log_alpha`` of every gate that is not hardened."""
        density = expected_density(self.items, Gate.open_probability)
        self._latest = density.detach()
        if self.schedule == "anneal":
            return self._annealed() * density
        return self.multiplier * (density - self.target)

    def backward(self) -> None:
        """Add the gradients of the penalty to those that gates have, as ``penalty().backward()`` does, but quicker.

        Where a single gate is all that the budget counts, hooks on its gradient are not called.
        """
        alpha = None if self._only is None or self._only.is_hardened else self._only.log_alpha
        if alpha is None or not alpha.requires_grad:
            penalty = self.penalty()
            if penalty.requires_grad:
                penalty.backward()
            return
        # The engine of autograd would take longer than everything else that a single gate does in a step.
        is_open = open_probability(alpha.detach())
        self._latest = is_open.sum() / alpha.numel()
        slope = (self._annealed() if self.schedule == "anneal" else self.multiplier) / alpha.numel()
        if alpha.grad is None:
            alpha.grad = torch.zeros_like(alpha)
        alpha.grad.addcmul_(is_open, is_open, value=-slope).add_(is_open, alpha=slope)

    def step(self) -> None:
        """Update the multiplier and clamp ``log_alpha`` to its bounds; call this after the optimiser's step."""
        density = self.density if self._latest is None else float(self._latest)
        violation = density - self.target
        grown = self.multiplier * (1.0 + min(violation, _GROWTH)) + self.dual_lr * violation
        self.multiplier = grown if violation > 0.0 else 0.0
        self.done += 1
        self._latest = None
        values = [p.detach() for p in self.parameters()]
        if len(values) == 1:
            values[0].clamp_(-LOG_ALPHA_BOUND, LOG_ALPHA_BOUND)
        elif values:
            torch._foreach_clamp_min_(values, -LOG_ALPHA_BOUND)
            torch._foreach_clamp_max_(values, LOG_ALPHA_BOUND)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the next steps depend on besides the gates, to be stored: float64 ``[3]`` under ``"budget"``."""
        return {"budget": torch.tensor([self.multiplier, self.done, self._start], dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called.

        Raises:
            GateError: ``state`` is not what ``state_dict`` returns.
        """
        found = state.get("budget")
        if found is None or found.shape != (3,):
            raise GateError(
                f"Budget.load_state_dict: expected 3 numbers under 'budget', got {found} in {sorted(state)}"
            )
        self.multiplier, done, self._start = found.tolist()
        self.done = int(done)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over ``log_alpha`` of every gate that is not hardened."""
        return (gate.log_alpha for gate in self._gates if not gate.is_hardened)

    def param_group(self, lr: float = 0.1) -> dict[str, object]:
        """Return the parameter group of the gates, for Adam or AdamW.

        A gate learns at a far higher rate than a weight: ``log_alpha`` moves by about ``lr`` a step and has to cross
        several units. ``eps`` is tiny because one gate in millions has a gradient below Adam's default of 1e-8, which
        would switch the normalisation off.

        Args:
            lr: Learning rate of the gates.

        Returns:
            A parameter group without weight decay.
        """
        return {"params": list(self.parameters()), "lr": lr, "eps": 1e-15, "weight_decay": 0.0}

    def split(self, model: nn.Module, lr: float = 0.1) -> list[dict[str, object]]:
        """Return the parameter groups of weights and gates: ``torch.optim.AdamW(budget.split(model), lr=1e-4)``.

        Args:
            model: The model to train.
            lr: Learning rate of the gates.

        Returns:
            The trainable parameters of ``model`` that are no gates, at the optimiser's own rate; and the gates of this
            budget, see :meth:`param_group`.
        """
        gates = {id(gate.log_alpha) for gate in named_gates(model).values()}
        weights = [p for p in model.parameters() if p.requires_grad and id(p) not in gates]
        return [{"params": weights}, self.param_group(lr)]

    def _annealed(self) -> float:
        progress = min(max((self.done / self.steps - 0.1) / 0.5, 0.0), 1.0)
        return self.strength * 0.5 * (1.0 - cos(pi * progress))
