"""What becomes of sums of integers: scale, bias, activation and residual, and perhaps 8-bit integers again."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.integers.numbers import load_integers, word_of
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.integers.tensors import IntegerTensors
from l0compile.kernels.cuda.linear.numbers import load_numbers, row_of, store_numbers
from l0compile.kernels.cuda.linear.results import keeping_nan
from l0compile.kernels.tir import TB

COUNT = 4
"""Outputs of a chunk: their sums are 16 bytes, and rounded they are one word."""


@dataclass(frozen=True)
class ColumnNumbers:
    """Registers with what a chunk of outputs has for all tokens; None where the spec has none."""

    start: Any
    scale: Any
    bias: Any
    inverse: Any


@dataclass(frozen=True)
class IntegerEpilogue:
    """Chunks of results from sums of integers.

    Attributes:
        spec, to: what is computed.
    """

    spec: CudaIntegerLinearSpec
    to: IntegerTensors

    @property
    def count(self) -> int:
        """Outputs of a chunk."""
        return COUNT

    @property
    def sums(self) -> str:
        """The type of sums."""
        return "int32"

    @property
    def tokens(self) -> Expr:
        """Rows of y."""
        return self.to.tokens

    def bias(self, column: Expr) -> ColumnNumbers:
        """Read what the outputs from ``column`` on have."""
        start = ptx.registers(COUNT, "int32")
        load_integers(start, row_of(self.to.start), column, COUNT, self.spec.n)
        others = (self.to.scale, self.to.linear.bias, self.to.inverse)
        return ColumnNumbers(start, *(self._floats(buffer, column) for buffer in others))

    def write(self, sums: Any, bias: ColumnNumbers, row: Expr, column: Expr) -> None:
        """Finish a chunk of a row (int64) of y."""
        values, given = ptx.registers(COUNT, "float32"), bias
        for i in range(COUNT):
            more = None if given.bias is None else given.bias[i]
            value = ptx.scaled_sum(sums[i] + given.start[i], given.scale[i], more)
            value = keeping_nan(ptx.kept(value, "float32"), self.spec.activation)
            store(values, value, i)
        if self.spec.residual:
            others = ptx.registers(COUNT, "float32")
            load_numbers(others, row_of(self.to.linear.residual, row), column, COUNT, self.spec.n, "float32")
            for i in range(COUNT):
                store(values, values[i] + others[i], i)
        self._store(values, given, row, column)

    def _store(self, values: Any, given: ColumnNumbers, row: Expr, column: Expr) -> None:
        y, n, zero_point = self.to.linear.y, self.spec.n, self.spec.zero_point
        if zero_point is None:
            store_numbers(values, row_of(y, row), column, COUNT, n, "float32", True)
            return
        with TB.If(column < n), TB.Then():
            word = word_of(values, given.inverse, COUNT, zero_point)
            ptx.store_global(row_of(y, row)(column // COUNT), ptx.at(word), 1)

    def _floats(self, buffer: Any, column: Expr) -> Any:
        if buffer is None:
            return None
        values = ptx.registers(COUNT, "float32")
        load_numbers(values, row_of(buffer), column, COUNT, self.spec.n, "float32")
        return values
