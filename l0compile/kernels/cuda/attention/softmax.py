"""Online softmax: each step's scores become weights against the largest score so far.

Exact: sum_j exp(s_j - m') v_j = exp(m - m') sum_j exp(s_j - m) v_j. Exponentials are powers of 2.
"""

from dataclasses import dataclass
from math import e, log2
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda.attention.device_functions import exp2, fill, from_lane
from l0compile.kernels.cuda.attention.engine import ProductEngine
from l0compile.kernels.cuda.attention.task import CudaOperands
from l0compile.kernels.cuda.ptx import kept, registers
from l0compile.kernels.tir import TB

_NONE = float("-inf")


@dataclass(frozen=True)
class Softmax:
    """The state of a lane's rows.

    Attributes:
        factor: turns a score into an exponent of 2.
        top: the largest score of a row so far, -inf where none is live.
        total: this lane's share of the sum of a row's weights.
    """

    engine: ProductEngine
    factor: float
    plain: bool
    top: Any
    total: Any

    @classmethod
    def of(cls, given: CudaOperands, engine: ProductEngine) -> "Softmax":
        """The state before the first step."""
        factor = log2(e) * (given.spec.scale if given.spec.plain else 1.0)
        count = len(engine.rows)
        made = cls(engine, factor, given.spec.plain, registers(count, "float32"), registers(count, "float32"))
        fill(made.top, count, TB.float32(_NONE))
        fill(made.total, count, TB.float32(0))
        return made

    def take(self) -> None:
        """Turn the scores of a step into weights, and shrink the sums of the steps before."""
        for row in self.engine.rows:
            top = kept(TB.max(self.top[row], self._largest(row)), "float32")
            # Without a live key all differences must be -inf, not NaN.
            base = kept(TB.Select(top == TB.float32(_NONE), TB.float32(0), top), "float32")
            shrink = kept(exp2(self._exponent(self.top[row], base)), "float32")
            store(self.top, top, row)
            self._weigh(row, base)
            store(self.total, self.total[row] * shrink + self._sum(row), row)
            for feature in self.engine.features:
                place = self.engine.sum(row, feature)
                store(self.engine.sums, self.engine.sums[place] * shrink, place)

    def finish(self, scale: float) -> list[tuple[Expr, Expr]]:
        """Divide the sums by the weights; (largest score, sum of the weights) of each row."""
        found = []
        for row in self.engine.rows:
            total = kept(self._across(self.total[row], lambda a, b: a + b), "float32")
            none = total == TB.float32(0)
            inverse = kept(TB.Select(none, TB.float32(0), TB.float32(1) / total), "float32")
            for feature in self.engine.features:
                place = self.engine.sum(row, feature)
                store(self.engine.sums, self.engine.sums[place] * inverse, place)
            found.append((self.top[row] * TB.float32(scale if self.plain else 1.0), total))
        return found

    def _largest(self, row: int) -> Expr:
        value: Expr = self._score(row, 0)
        best = registers(1, "float32")
        store(best, value, 0)
        for column in self.engine.columns[1:]:
            store(best, TB.max(best[0], self._score(row, column)), 0)
        return self._across(best[0], TB.max)

    def _across(self, value: Expr, combine: Any) -> Expr:
        """Combine with the other lanes of the same row."""
        for bit in self.engine.sharing:
            value = kept(value, "float32")
            value = combine(value, from_lane(value, bit))
        return value

    def _weigh(self, row: int, base: Expr) -> None:
        for column in self.engine.columns:
            value = exp2(self._exponent(self._score(row, column), base))
            store(self.engine.scores, value, self.engine.score(row, column))

    def _exponent(self, score: Expr, base: Expr) -> Expr:
        """Of one fused multiply-add where that is exact enough: masks may be near the largest number."""
        factor = TB.float32(self.factor)
        return score * factor - base * factor if self.plain else (score - base) * factor

    def _sum(self, row: int) -> Expr:
        total = registers(1, "float32")
        store(total, self._score(row, 0), 0)
        for column in self.engine.columns[1:]:
            store(total, total[0] + self._score(row, column), 0)
        return total[0]

    def _score(self, row: int, column: int) -> Expr:
        return self.engine.scores[self.engine.score(row, column)]
