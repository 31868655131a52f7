"""The microkernel of a linear layer of bfloat16 numbers (oracle: ``l0compile::packed_bfloat16_linear``)."""

from dataclasses import dataclass

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cpu.linear.words import WordMicrokernel
from l0compile.kernels.cpu.pair import pair_dot


@dataclass(frozen=True)
class PairMicrokernel(WordMicrokernel):
    """As that of float32, with a word of two features where that has one number."""

    def _multiply_add(self, total: Expr, weight: Expr, x: Expr) -> Expr:
        return pair_dot(total, x, weight, self.width, self.tile)
