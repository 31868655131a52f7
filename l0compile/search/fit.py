"""Meeting a budget: plan, compile, measure, and correct the prediction until the measured latency fits."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from l0compile.errors import BuildError, L0CompileError
from l0compile.oneshot.masks import structure
from l0compile.oneshot.plan import Plan
from l0compile.oneshot.prices import Line
from l0compile.result import Latency
from l0compile.search.candidate import Choices
from l0compile.search.evaluate import Evaluator
from l0compile.search.latency import Bench, Budgeted

# Where the latency of a fitted model should be, relative to the wanted one: never above.
LOWEST, AIM, HIGHEST = 0.94, 0.975, 0.995
ROUNDS = 6
_LEAST = 0.02
# How often a measurement counts for other models made by the same choices.
_OWN = 8
# Prices in this ratio may contradict each other: models of one price differ by some percent.
_CLOSE = 1.05


@dataclass(frozen=True)
class Fitted:
    """A model whose latency was measured.

    plan, structure: what it keeps. load: latency over the budget, against a reference measured in the same minute where
    that is relative. predicted_ms: before it was compiled, on the scale of ``load`` times the budget.
    """

    choices: Choices
    plan: Plan
    structure: str
    latency: Latency
    load: float
    predicted_ms: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "latency": vars(self.latency),
            "load": self.load,
            "predicted_ms": self.predicted_ms,
            "price_ms": self.plan.ms,
            "layers": self.plan.to_json(),
        }


@dataclass
class Fitter:
    """Fits models of one space to latencies on this machine.

    points: (price, measured) milliseconds of whole models, the dense one first; every measurement adds one.
    measured: by structure, so that nothing is compiled or measured twice.
    """

    evaluator: Evaluator
    bench: Bench
    budget: Budgeted
    points: list[tuple[float, float]]
    measured: dict[str, Fitted] = field(default_factory=dict)

    def price(self, wanted_ms: float, own: Sequence[tuple[float, float]] = ()) -> float:
        """What layers may take for the model to take about ``wanted_ms``; own: points of the choices it is for."""
        dense = self.evaluator.menu.dense_ms
        # Below that the line is no more than a guess; one model there corrects it.
        least = _LEAST * dense
        line = Line.through([*self.points, *_OWN * list(own)], wanted_ms).price(AIM * wanted_ms)
        between = self._between(line, AIM * wanted_ms)
        return min(dense, max(least, line)) if between is None else between

    def _between(self, line: float, aim_ms: float) -> float | None:
        """A price between those of the nearest two measured models, where they contradict the line; else None.

        The line is misled by a measurement that something else disturbed, as that of the dense model may be.
        """
        low = max(((p, ms) for p, ms in self.points if ms <= aim_ms), default=None)
        high = min(((p, ms) for p, ms in self.points if ms > aim_ms), default=None)
        if low is None or high is None or low[0] < line < high[0] or high[0] <= _CLOSE * low[0]:
            return None
        share = (aim_ms - low[1]) / (high[1] - low[1])
        return low[0] + min(max(share, 0.1), 0.9) * (high[0] - low[0])

    def expected_ms(self, price: float) -> float:
        """About what a model takes whose layers take ``price``."""
        dense_ms = self.points[0][1]
        near = dense_ms * max(price / self.evaluator.menu.dense_ms, _LEAST)
        return Line.through(self.points, near).ms(price)

    def fit(self, choices: Choices, wanted_ms: float, rounds: int = ROUNDS) -> Fitted:
        """The model for ``choices`` that takes at most ``wanted_ms``, as close as a few rounds bring it.

        Of those measured the slowest that is quick enough; the quickest, if none is. Raises a L0CompileError when no
        plan is quick enough, or a model cannot be built.
        """
        found: dict[str, Fitted] = {}
        for _ in range(rounds):
            line = Line.through(self.points, wanted_ms)
            price = self.price(wanted_ms, [self.point(fitted) for fitted in found.values()])
            try:
                fitted = self.measure(choices, self.evaluator.plan(choices, price), line)
            except L0CompileError:
                if found:
                    break
                raise
            ms, again = fitted.load * self.budget.ms, fitted.structure in found
            found[fitted.structure] = fitted
            dense = price >= self.evaluator.menu.dense_ms and ms <= wanted_ms
            if again or dense or LOWEST * wanted_ms <= ms <= HIGHEST * wanted_ms:
                break
        wanted = HIGHEST * wanted_ms / self.budget.ms
        quick = [fitted for fitted in found.values() if fitted.load <= wanted]
        return max(quick, key=_load) if quick else min(found.values(), key=_load)

    def measure(self, choices: Choices, plan: Plan, line: Line) -> Fitted:
        """Compile a plan and measure it."""
        model = self.evaluator.realised(plan)
        key = structure(model)
        if key not in self.measured:
            latency, load = self.time(model)
            self.know(Fitted(choices, plan, key, latency, load, line.ms(plan.ms)))
        return replace(self.measured[key], choices=choices)

    def know(self, fitted: Fitted) -> None:
        """Take up what was measured."""
        self.measured[fitted.structure] = fitted
        self.points.append(self.point(fitted))

    def point(self, fitted: Fitted) -> tuple[float, float]:
        """(price, measured) milliseconds."""
        return fitted.plan.ms, fitted.load * self.budget.ms

    def time(self, model: nn.Module) -> tuple[Latency, float]:
        """Compile a hardened model for the example's sizes and measure it: its latency, and that over the budget."""
        self.bench.build(model, "candidate", dynamic=False)
        measured, load = self.budget.measure(self.bench, "candidate")
        latency = Latency.of(measured)
        if latency is None:
            raise BuildError(f"search: the candidate was built, but measuring it failed: {measured.error}")
        return latency, load


def _load(fitted: Fitted) -> float:
    return fitted.load
