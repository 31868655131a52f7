"""From numbers to places on a picture, and the round numbers to write beside an axis."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_MANTISSAS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))


@dataclass(frozen=True)
class Scale:
    """``low``..``high`` drawn from ``start`` to ``end``, linear or logarithmic (then ``low`` is above 0)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(
        cls, values: Iterable[float], start: float, end: float, *, log: bool = False, margin: float = 0.08
    ) -> "Scale":
        """A scale that holds ``values`` with a margin on both sides; of one value, or of none, some range around it."""
        found = [math.log(value) if log else value for value in values] or [0.0]
        low, high = min(found), max(found)
        room = margin * (high - low) if high > low else 0.1 * (1.0 if log else abs(low) or 1.0)
        low, high = low - room, high + room
        return cls(math.exp(low), math.exp(high), start, end, log) if log else cls(low, high, start, end)

    def __call__(self, value: float) -> float:
        """Where ``value`` is drawn."""
        low, high, found = self.low, self.high, value
        if self.log:
            low, high, found = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (found - low) / (high - low)

    def holds(self, value: float) -> bool:
        """Whether ``value`` is on the axis."""
        return self.low <= value <= self.high

    def ticks(self, count: int) -> list[float]:
        """Round numbers on the axis: as many as there are up to ``count``, and two if there is any such pair."""
        # Over a small range logarithms are nearly even, and steps of one size are easier to read.
        if not self.log or self.high / self.low < 4:
            return self._even(count)
        best: list[float] = []
        for mantissas in _MANTISSAS:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            found = [m * 10.0**power for power in range(first, last + 1) for m in mantissas]
            inside = [value for value in found if self.holds(value)]
            if len(inside) <= count:
                best = inside
        return best

    def _even(self, count: int) -> list[float]:
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step for m in (1, 2, 5, 10) if (step := m * power) >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]


def spread(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """``places`` moved apart until neighbours are ``gap`` apart, as far as ``low``..``high`` has room, in order."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    found = list(places)
    for back, run in ((False, order), (True, order[::-1])):
        edge = high if back else low
        for index in run:
            found[index] = min(found[index], edge) if back else max(found[index], edge)
            edge = found[index] - gap if back else found[index] + gap
    return found
