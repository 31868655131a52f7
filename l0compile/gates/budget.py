"""A budget on the expected cost that gates leave, reached by a Lagrange multiplier while the model trains."""

from collections.abc import Iterator, Mapping
from math import cos, pi
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates.cost import Cost, cost_items, expected_density
from l0compile.gates.gate import Gate, named_gates
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND

Schedule = Literal["dual", "anneal"]


# The multiplier also grows by the violation, at most this fraction a step: sums alone take too long to reach a
# multiplier that suits a loss of large scale (with 5 % a step, 100 steps cover a factor of 130).
_GROWTH = 0.05


class Budget:
    """Keeps the expected density of everything gated within a target: ``loss + budget.penalty()``, ``budget.step()``.

    Density is the expected live fraction of the dense cost of the gated modules; nested gates multiply (see ``cost``).

    ``schedule="dual"`` (default) solves ``min loss s.t. density <= target`` by ascent on one multiplier m, with v the
    violation: ``m <- m (1 + min(v, 0.05)) + dual_lr v``, and ``m <- 0`` whenever the constraint holds (dual restarts:
    Gallego-Posada et al., NeurIPS 2022). The target falls linearly from the density at construction to ``density``
    over the first ``warmup`` of the steps.
    ``schedule="anneal"`` has no target: the multiplier is 0 for the first 10 % of the steps, rises to ``strength``
    along a cosine until 60 %, and stays.

    Args:
        model: a model with gates. density: in (0, 1]. steps: training steps, for both schedules.
        cost: module-name pattern -> cost, a number or a curve, see ``Cost`` (for example measured milliseconds, see
            ``l0compile.gate_prices``); default: weights of linear layers.
        feeds: producer pattern -> consumer pattern, so that closed neurons and heads also save the producer's rows, for
            example ``{"encoder.layer.*.intermediate.dense": "encoder.layer.*.output.dense"}``.
        warmup: fraction of the steps over which the target falls.
        dual_lr: ascent step for a violation of 1; default ``1000 / steps``.
        strength: final multiplier of ``"anneal"``.

    Raises:
        GateError: no gates, or an argument out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        density: float,
        steps: int,
        *,
        schedule: Schedule = "dual",
        cost: Mapping[str, Cost] | None = None,
        feeds: Mapping[str, str] | None = None,
        warmup: float = 0.5,
        dual_lr: float | None = None,
        strength: float = 1.0,
    ) -> None:
        if (
            not 0.0 < density <= 1.0
            or steps < 1
            or not 0.0 <= warmup <= 1.0
            or schedule not in ("dual", "anneal")
        ):
            raise GateError(
                "Budget: expected density in (0, 1], steps >= 1, warmup in [0, 1] and schedule 'dual' or 'anneal', "
                f"got density={density}, steps={steps}, warmup={warmup}, schedule={schedule!r}"
            )
        self.items = cost_items(model, cost, feeds)
        self.goal, self.steps, self.schedule, self.warmup = density, steps, schedule, warmup
        self.dual_lr = 1000.0 / steps if dual_lr is None else dual_lr
        self.strength = strength
        self.multiplier = 0.0
        self.done = 0
        self._gates: list[Gate] = list({id(g): g for item in self.items for g in item.gates}.values())
        self._latest: Tensor | None = None
        self._start = self.density

    @classmethod
    def within(
        cls, model: nn.Module, limit: float, steps: int, *, cost: Mapping[str, Cost], **options: Any
    ) -> "Budget":
        """A budget of at most ``limit``, in the unit of ``cost``, for everything gated; the rest as of the class.

        Raises: GateError as the class does, and for a limit that is not above 0.
        """
        total = sum(item.dense for item in cost_items(model, cost, options.get("feeds")))
        if not limit > 0.0:
            raise GateError(f"Budget.within: limit: expected more than 0, got {limit}")
        return cls(model, min(1.0, limit / total), steps, cost=cost, **options)

    @property
    def density(self) -> float:
        """Expected density now, as a share of the dense cost, in [0, 1]; once hardened, the density itself."""
        with torch.no_grad():
            return float(expected_density(self.items, Gate.open_probability))

    @property
    def target(self) -> float:
        """The density asked for at this step of the ramp, in (0, 1]."""
        length = self.warmup * self.steps
        part = 1.0 if self.done >= length else self.done / length
        return max(self._start * (1.0 - part) + self.goal * part, self.goal)

    def penalty(self) -> Tensor:
        """Scalar to add to the loss; differentiable in ``log_alpha`` of every gate, constant once they are hardened."""
        density = expected_density(self.items, Gate.open_probability)
        self._latest = density.detach()
        if self.schedule == "anneal":
            return self._annealed() * density
        return self.multiplier * (density - self.target)

    def step(self) -> None:
        """Call after the optimiser's step: moves the multiplier and keeps ``log_alpha`` in its bounds."""
        density = self.density if self._latest is None else float(self._latest)
        violation = density - self.target
        grown = self.multiplier * (1.0 + min(violation, _GROWTH)) + self.dual_lr * violation
        self.multiplier = grown if violation > 0.0 else 0.0
        self.done += 1
        self._latest = None
        values = [p.detach() for p in self.parameters()]
        if values:
            torch._foreach_clamp_min_(values, -LOG_ALPHA_BOUND)
            torch._foreach_clamp_max_(values, LOG_ALPHA_BOUND)

    def parameters(self) -> Iterator[nn.Parameter]:
        """``log_alpha`` of every gate that is not hardened."""
        return (gate.log_alpha for gate in self._gates if not gate.is_hardened)

    def param_group(self, lr: float = 0.1) -> dict[str, object]:
        """Parameter group for Adam or AdamW. A gate's rate is far above the weights': ``log_alpha`` moves by about
        ``lr`` a step and has to cross several units. ``eps`` is tiny because one of millions of gates has a gradient
        below Adam's default 1e-8, which would switch the normalisation off."""
        return {"params": list(self.parameters()), "lr": lr, "eps": 1e-15, "weight_decay": 0.0}

    def split(self, model: nn.Module, lr: float = 0.1) -> list[dict[str, object]]:
        """Parameter groups for an optimiser: the weights of ``model``, at its own rate, and the gates, at ``lr``.

        ``torch.optim.AdamW(budget.split(model), lr=1e-4)``. Weights are all parameters that are to be trained and are
        no gates; gates are those of this budget, see :meth:`param_group`.
        """
        gates = {id(gate.log_alpha) for gate in named_gates(model).values()}
        weights = [p for p in model.parameters() if p.requires_grad and id(p) not in gates]
        return [{"params": weights}, self.param_group(lr)]

    def _annealed(self) -> float:
        progress = min(max((self.done / self.steps - 0.1) / 0.5, 0.0), 1.0)
        return self.strength * 0.5 * (1.0 - cos(pi * progress))
