"""What CUDA's linear kernel for 2:4 computes."""

from dataclasses import dataclass

from l0compile.ir.ops.two_of_four import COLUMNS, ROWS
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec


@dataclass(frozen=True)
class CudaTwoOfFourSpec:
    """activation(x Wᵀ + bias) + residual, of ``l0compile::two_of_four_linear``; tokens are of any number.

    Attributes:
        n: output features.
        k: input features.
        dtype: of all tensors but the places: "float16" or "bfloat16". Sums are float32.
        bias: there is a bias [n].
        residual: there is a residual [tokens, n].
        activation: a key of ``ACTIVATIONS``.
        few: there are likely no more tokens than the smallest tile has.
    """

    n: int
    k: int
    dtype: str
    bias: bool
    residual: bool
    activation: str
    few: bool = False

    @property
    def dense(self) -> CudaLinearSpec:
        """The layer that has all numbers of its weight."""
        return CudaLinearSpec(
            self.n, self.k, 0, 0, self.dtype, self.bias, self.residual, False, self.activation, few=self.few
        )

    @property
    def pieces(self) -> tuple[int, int]:
        """Of rows and of columns, as places are cut."""
        return -(-self.n // ROWS), -(-self.k // COLUMNS)

    @property
    def kept(self) -> int:
        """Numbers that are kept of a row."""
        return self.pieces[1] * COLUMNS // 2
