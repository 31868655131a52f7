"""Meeting a budget: plan, compile, measure, and correct the prediction until the measured latency fits."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from torch import nn

from l0compile.errors import BuildError, L0CompileError
from l0compile.measurement import Ratio
from l0compile.pruning.masks import structure
from l0compile.pruning.plan import Plan
from l0compile.pruning.prices import Line
from l0compile.studies.fit.budgeted import Budgeted
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.latency import Bench
from l0compile.studies.result import Latency
from l0compile.studies.space.candidate import Choices

# Where the latency of a fitted model should be, relative to the wanted one: never above.
LOWEST, AIM, HIGHEST = 0.94, 0.975, 0.995
ROUNDS = 6
_LEAST = 0.02
# A plan for a price between two that are closer than this share of the dense price is one of the two.
_SAME = 0.004
# Rounds that are made however late it is, where nothing is quick enough.
_LATE_ROUNDS = 2
# Rounds whose prices are all predicted.
_PREDICTED = 3
# How far inside the ends of what is left a price stays, where both ends were measured, and where one was.
_INSIDE, _BEYOND = 0.1, 0.02
# By no more than this does one measurement that was too slow lower the price.
_AT_MOST = 0.4
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
    between: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "latency": vars(self.latency),
            "load": self.load,
            "predicted_ms": self.predicted_ms,
            "between": self.between,
            "price_ms": self.plan.ms,
            "layers": self.plan.to_json(),
        }


@dataclass
class Fitter:
    """Fits models of one space to latencies on this machine.

    points: (price, measured) milliseconds of whole models, the dense one first; every measurement adds one.
    measured: by structure, so that nothing is compiled or measured twice. told: of each measurement.
    """

    evaluator: Evaluator
    bench: Bench
    budget: Budgeted
    points: list[tuple[float, float]]
    measured: dict[str, Fitted] = field(default_factory=dict)
    told: Callable[[Fitted], None] = lambda fitted: None

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

    def fit(
        self,
        choices: Choices,
        wanted_ms: float,
        rounds: int = ROUNDS,
        *,
        band: tuple[float, float] = (LOWEST, HIGHEST),
        until: float = inf,
    ) -> Fitted:
        """The model for ``choices`` that takes at most ``wanted_ms``, as close as a few rounds bring it.

        The first prices are predicted. Between one that is too quick and one that is too slow the next is tried, from
        predictions and by halves in turn, however far those are apart. What was measured before counts.

        band: of the latency over ``wanted_ms`` that is close enough. until: no round ends later, as far as can be told
        (`time.monotonic` seconds), but for the first, and one more where nothing is quick enough.

        Of those measured the slowest that is quick enough; the quickest, if none is. Raises a L0CompileError when no
        plan is quick enough, or a model cannot be built.
        """
        low, high = (share * wanted_ms / self.budget.ms for share in band)
        found = {known.structure: known for known in self.measured.values() if known.choices == choices}
        tried = [(known.plan.ms, known.load) for known in found.values()]
        done, again, slowest = 0, 0, 0.0
        while done < rounds and not any(low <= fitted.load <= high for fitted in found.values()):
            begun, quick = time.monotonic(), _quick(found, high)
            late = begun + slowest > until and (quick or done >= _LATE_ROUNDS)
            price = self._next(wanted_ms, high, tried, found, done, again)
            if price is None or (found and late):
                break
            line = Line.through(self.points, wanted_ms)
            try:
                fitted = self.measure(choices, self.evaluator.plan(choices, price), line, high)
            except L0CompileError:
                if found:
                    break
                raise
            again = again + 1 if fitted.structure in found else 0
            done += not again
            slowest = max(slowest, time.monotonic() - begun)
            found[fitted.structure] = fitted
            tried.append((price, fitted.load))
        quick = _quick(found, high)
        return max(quick, key=_load) if quick else min(found.values(), key=_load)

    def _next(
        self,
        wanted_ms: float,
        high: float,
        tried: Sequence[tuple[float, float]],
        found: Mapping[str, Fitted],
        done: int,
        again: int,
    ) -> float | None:
        """The price to try after those ``tried`` with their loads, of which up to ``high`` are quick enough; None where
        nothing is left between them. ``again``: how many of the last gave plans that were known, as they do where a
        size, and not the time, bounds them."""
        guess = self.price(wanted_ms, [self.point(fitted) for fitted in found.values()])
        if not tried:
            return guess
        dense = self.evaluator.menu.dense_ms
        quick = max((price for price, load in tried if load <= high), default=None)
        slow = min((price for price, load in tried if load > high and price > (quick or 0.0)), default=None)
        least, most = _LEAST * dense if quick is None else quick, dense if slow is None else slow
        room = most - least
        if room < _SAME * dense:
            return None
        if done >= _PREDICTED and done % 2:
            return least + room / 2
        if quick is not None and slow is not None:
            return min(max(guess, least + _INSIDE * room), most - _INSIDE * room)
        if quick is not None:
            return None if again > 1 else max(guess, least + (0.5 if again else _BEYOND) * room)
        # A latency that hardly falls with the price, as where starting threads takes most of it: by what was seen.
        return min(guess, max(self._secant(found, wanted_ms), _AT_MOST * most), most - _BEYOND * room)

    def _secant(self, found: Mapping[str, Fitted], wanted_ms: float) -> float:
        """The price of ``wanted_ms`` on the line through the dense model and the quickest of those found."""
        (dense, dense_ms), (price, ms) = self.points[0], min(map(self.point, found.values()))
        if price >= dense or ms >= dense_ms:
            return inf
        return price - (ms - AIM * wanted_ms) * (dense - price) / (dense_ms - ms)

    def measure(self, choices: Choices, plan: Plan, line: Line, wanted: float = 1.0) -> Fitted:
        """Compile a plan and measure it, as exactly as a load of ``wanted`` needs."""
        model = self.evaluator.realised(plan)
        key = structure(model)
        if key not in self.measured:
            latency, load = self.time(model, wanted)
            self.know(
                Fitted(choices, plan, key, latency, load.value, line.ms(plan.ms), (load.low, load.high))
            )
            self.told(self.measured[key])
        return replace(self.measured[key], choices=choices)

    def know(self, fitted: Fitted) -> None:
        """Take up what was measured."""
        self.measured[fitted.structure] = fitted
        self.points.append(self.point(fitted))

    def point(self, fitted: Fitted) -> tuple[float, float]:
        """(price, measured) milliseconds."""
        return fitted.plan.ms, fitted.load * self.budget.ms

    def time(self, model: nn.Module, wanted: float = 1.0) -> tuple[Latency, Ratio]:
        """Compile a hardened model for the example's sizes and measure it: its latency, and that over the budget."""
        artifact = self.bench.candidate(model)
        try:
            measured, load = self.budget.measure(self.bench, artifact, wanted)
        finally:
            self.bench.forget(artifact)
        latency = Latency.of(measured)
        if latency is None:
            raise BuildError(f"search: the candidate was built, but measuring it failed: {measured.error}")
        return latency, load


def _quick(found: Mapping[str, Fitted], high: float) -> list[Fitted]:
    return [fitted for fitted in found.values() if fitted.load <= high]


def _load(fitted: Fitted) -> float:
    return fitted.load
