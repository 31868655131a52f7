"""The microkernel of a linear layer of 8-bit integers (oracle: ``l0compile::packed_int8_linear``).

As that of float32, with a word of four features where that has one number: a multiplication of registers then is four
for each lane, and a loop over columns has a quarter of the turns.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.dot import as_float, dot
from l0compile.kernels.cpu.lanes import ACTIVATIONS, Expr, broadcast, kept, variable
from l0compile.kernels.cpu.linear.words import WordMicrokernel
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class IntegerMicrokernel(WordMicrokernel):
    """Some registers of token tile ``t``, each with the words of ``width`` tokens."""

    def _variable(self) -> Any:
        return variable(self.width, "int32")

    def _beginning(self) -> tuple[Any, Expr]:
        return self.to.start, TB.int32(0)

    def _multiply_add(self, total: Expr, weight: Expr, x: Expr) -> Expr:
        return dot(total, x, weight, self.width, self.tile, self.spec.fits16)

    def _result(self, register: Any, row: Expr) -> Expr:
        value = as_float(self._get(register), self.width) * broadcast(self.to.scale[row], self.width)
        if self.to.bias is not None:
            value = value + broadcast(self.to.bias[row], self.width)
        return ACTIVATIONS[self.spec.activation](kept(value, self.width))
