"""Fit a model to a budget: allocate, compile, measure, and correct the prediction until the measured latency fits."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from torch import nn

from l0compile.errors import BuildError, L0CompileError
from l0compile.measurement import Ratio
from l0compile.studies.bench.bench import Bench
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.prices import LatencyLine
from l0compile.studies.result import Latency
from l0compile.studies.space.candidate import Choices

# The latency of a fitted model relative to the wanted one: at least, aimed at, at most.
LOWEST, AIM, HIGHEST = 0.94, 0.975, 0.995
ROUNDS = 6
_LEAST = 0.02
# Two prices closer than this share of the dense price leave no allocation between them.
_SAME = 0.004
# Rounds that are made however late it is, while nothing is fast enough.
_LATE_ROUNDS = 2
# The first rounds, whose prices are all predicted.
_PREDICTED = 3
# How far a price stays inside the remaining range, if both of its ends were measured, and if one was.
_INSIDE, _BEYOND = 0.1, 0.02
# One measurement that was too slow lowers the price to no less than this share.
_AT_MOST = 0.4
# How many times a measurement counts for other models of the same choices.
_OWN = 8
# Prices within this ratio may contradict each other: models of one price differ by a few percent.
_CLOSE = 1.05


@dataclass(frozen=True)
class Fitted:
    """A model whose latency was measured.

    allocation, structure: what it keeps, the latter as ``Evaluator.key`` hashes it. load: its latency over the budget;
    between: its interval. predicted_ms: its latency as predicted before it was compiled, on the scale of ``load`` times
    the budget.
    """

    choices: Choices
    allocation: Allocation
    structure: str
    latency: Latency
    load: float
    predicted_ms: float
    between: tuple[float, float] | None = None


@dataclass
class Fitter:
    """Fits the models of one space to latencies on this machine, and remembers what it measured.

    points: (price, measured) milliseconds of whole models, the dense one first; every measurement adds one. measured:
    by structure, so that nothing is compiled or measured twice. told: called with each measurement. seconds: that each
    fit took.
    """

    evaluator: Evaluator
    bench: Bench
    budget: DeviceBudget
    points: list[tuple[float, float]]
    measured: dict[str, Fitted] = field(default_factory=dict)
    told: Callable[[Fitted], None] = lambda fitted: None
    seconds: list[float] = field(default_factory=list)

    def price(self, wanted_ms: float, own: Sequence[tuple[float, float]] = ()) -> float:
        """Return the price of a model that takes about ``wanted_ms``.

        own: points of models made by the same choices, which count more.
        """
        dense = self.evaluator.menu.dense_ms
        # Below this price the line is only a guess; one model there corrects it.
        least = _LEAST * dense
        line = LatencyLine.through([*self.points, *_OWN * list(own)], wanted_ms).price(AIM * wanted_ms)
        between = self._between(line, AIM * wanted_ms)
        return min(dense, max(least, line)) if between is None else between

    def _between(self, line: float, aim_ms: float) -> float | None:
        """Return a price between the two nearest measured models if they contradict the line; else None.

        A disturbed measurement misleads the line; the dense model's may be one.
        """
        low = max(((p, ms) for p, ms in self.points if ms <= aim_ms), default=None)
        high = min(((p, ms) for p, ms in self.points if ms > aim_ms), default=None)
        if low is None or high is None or low[0] < line < high[0] or high[0] <= _CLOSE * low[0]:
            return None
        share = (aim_ms - low[1]) / (high[1] - low[1])
        return low[0] + min(max(share, 0.1), 0.9) * (high[0] - low[0])

    def expected_ms(self, price: float) -> float:
        """Predict the latency of a model of this price."""
        dense_ms = self.points[0][1]
        near = dense_ms * max(price / self.evaluator.menu.dense_ms, _LEAST)
        return LatencyLine.through(self.points, near).ms(price)

    def fit(
        self,
        choices: Choices,
        wanted_ms: float,
        rounds: int = ROUNDS,
        *,
        band: tuple[float, float] = (LOWEST, HIGHEST),
        until: float = inf,
    ) -> Fitted:
        """Find the model of ``choices`` that takes at most ``wanted_ms``, as close to it as a few rounds get.

        The first prices are predicted. Between a price that is too low and one that is too high, predictions and
        bisection choose the next one in turn. Earlier measurements of the same choices count.

        Args:
            choices: what losses are weighed by.
            wanted_ms: the latency to keep, in milliseconds.
            rounds: models to compile at most.
            band: latencies over ``wanted_ms`` that are close enough.
            until: begin no round that would end after this moment (`time.monotonic` seconds), except the first, and a
                second if nothing is fast enough.

        Returns:
            The slowest measured model that is fast enough; the fastest if none is.

        Raises:
            InfeasibleError: no allocation is fast enough.
            L0CompileError: a model can't be built or measured.
        """
        start = time.monotonic()
        low, high = (share * wanted_ms / self.budget.ms for share in band)
        found = {known.structure: known for known in self.measured.values() if known.choices == choices}
        prices = [(known.allocation.ms, key) for key, known in found.items()]
        done, again, slowest = 0, 0, 0.0
        while done < rounds and not any(low <= fitted.load <= high for fitted in found.values()):
            begun, fast = time.monotonic(), _fast_enough(found, high)
            late = begun + slowest > until and (fast or done >= _LATE_ROUNDS)
            tried = [(price, found[key].load) for price, key in prices]
            price = self._next(wanted_ms, high, tried, found, done, again)
            if price is None or (found and late):
                break
            line = LatencyLine.through(self.points, wanted_ms)
            try:
                fitted = self.measure(choices, self.evaluator.allocate(choices, price), line, (low, high))
            except L0CompileError:
                if found:
                    break
                raise
            again = again + 1 if fitted.structure in found else 0
            done += not again
            slowest = max(slowest, time.monotonic() - begun)
            prices.append((price, fitted.structure))
            # All of them anew: with each measurement the machine is known better.
            found = {key: replace(self.measured[key], choices=choices) for _, key in prices}
        self.seconds.append(round(time.monotonic() - start, 1))
        fast = _fast_enough(found, high)
        return max(fast, key=_load) if fast else min(found.values(), key=_load)

    def _next(
        self,
        wanted_ms: float,
        high: float,
        tried: Sequence[tuple[float, float]],
        found: Mapping[str, Fitted],
        done: int,
        again: int,
    ) -> float | None:
        """Return the next price to try; None if nothing is left between the prices tried.

        Args:
            wanted_ms: the latency to keep.
            high: the highest load that is fast enough.
            tried: (price, load) of the rounds before.
            found: the models measured, by structure.
            done: rounds so far.
            again: how many of the last rounds led to a known model, as happens if a limit other than time binds.
        """
        guess = self.price(wanted_ms, [self.point(fitted) for fitted in found.values()])
        if not tried:
            return guess
        dense = self.evaluator.menu.dense_ms
        fast = max((price for price, load in tried if load <= high), default=None)
        slow = min((price for price, load in tried if load > high and price > (fast or 0.0)), default=None)
        least, most = _LEAST * dense if fast is None else fast, dense if slow is None else slow
        room = most - least
        if room < _SAME * dense:
            return None
        if done >= _PREDICTED and done % 2:
            return least + room / 2
        if fast is not None and slow is not None:
            return min(max(guess, least + _INSIDE * room), most - _INSIDE * room)
        if fast is not None:
            return None if again > 1 else max(guess, least + (0.5 if again else _BEYOND) * room)
        # If the latency hardly falls with the price (starting threads takes most of it), follow what was measured.
        return min(guess, max(self._secant(found, wanted_ms), _AT_MOST * most), most - _BEYOND * room)

    def _secant(self, found: Mapping[str, Fitted], wanted_ms: float) -> float:
        """Return the price of ``wanted_ms`` on the line through the dense model and the fastest model found."""
        (dense, dense_ms), (price, ms) = self.points[0], min(map(self.point, found.values()))
        if price >= dense or ms >= dense_ms:
            return inf
        return price - (ms - AIM * wanted_ms) * (dense - price) / (dense_ms - ms)

    def measure(
        self,
        choices: Choices,
        allocation: Allocation,
        line: LatencyLine,
        band: tuple[float, float] | None = None,
    ) -> Fitted:
        """Compile and measure an allocation, as exactly as it takes to tell whether its load is in ``band``."""
        model = self.evaluator.realised(allocation)
        key = self.evaluator.key(model, allocation)
        if key not in self.measured:
            latency, load = self.time(self.evaluator.timed(model, allocation), band)
            between, predicted = (load.low, load.high), line.ms(allocation.ms)
            self.know(Fitted(choices, allocation, key, latency, load.value, predicted, between))
            self.told(self.measured[key])
        return replace(self.measured[key], choices=choices)

    def _rescale(self, factor: float) -> None:
        """Multiply every load by ``factor``: the budget's reference is known better than when they were measured."""
        self.points = [(price, factor * ms) for price, ms in self.points]
        for key, known in self.measured.items():
            low, high = known.between or (known.load, known.load)
            self.measured[key] = replace(
                known, load=factor * known.load, between=(factor * low, factor * high)
            )

    def know(self, fitted: Fitted) -> None:
        """Remember a measurement."""
        self.measured[fitted.structure] = fitted
        self.points.append(self.point(fitted))

    def point(self, fitted: Fitted) -> tuple[float, float]:
        """Return (price, measured) milliseconds."""
        return fitted.allocation.ms, fitted.load * self.budget.ms

    def time(self, model: nn.Module, band: tuple[float, float] | None = None) -> tuple[Latency, Ratio]:
        """Compile a hardened model for the example's sizes, and return its latency and its load."""
        artifact, before = self.bench.candidate(model), self.budget.dense_load
        try:
            measured, load = self.budget.measure(self.bench, artifact, band)
        finally:
            self.bench.forget(artifact)
        if before is not None and (after := self.budget.dense_load) is not None:
            self._rescale(after.value / before.value)
        latency = Latency.of(measured)
        if latency is None:
            raise BuildError(f"search: the candidate was built, but measuring it failed: {measured.error}")
        return latency, load


def _fast_enough(found: Mapping[str, Fitted], high: float) -> list[Fitted]:
    return [fitted for fitted in found.values() if fitted.load <= high]


def _load(fitted: Fitted) -> float:
    return fitted.load
