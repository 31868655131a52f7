"""What CUDA's linear kernel of 8-bit integers computes."""

from dataclasses import dataclass

from l0compile.kernels.cuda.linear.spec import CudaLinearSpec


@dataclass(frozen=True)
class CudaIntegerLinearSpec:
    """activation((x Wᵀ + start) * scale + bias) + residual, of ``l0compile::rows_int8_linear``.

    Attributes:
        n: output features.
        words: input features in fours, as words of 32 bits.
        rows: of a block of a sparse weight; 0 of a dense one.
        chunks: columns of such a block in sixteens.
        bias: there is a bias float32 [n].
        residual: there is a residual float32 [tokens, n].
        order: an int32 tensor says in which order block rows begin.
        activation: a key of ``ACTIVATIONS``.
        zero_point: of the result, which then is rounded to words by a tensor of 1 / scale [n]; None: it is float32.
        few: there are likely no more tokens than the smallest tile has.
    """

    n: int
    words: int
    rows: int
    chunks: int
    bias: bool
    residual: bool
    order: bool
    activation: str
    zero_point: int | None = None
    few: bool = False

    @property
    def dense(self) -> bool:
        return self.rows == 0

    @property
    def geometry(self) -> CudaLinearSpec:
        """The layer of int32 numbers that has the same tiles, stages and copies: a word where that has a number."""
        return CudaLinearSpec(
            self.n, self.words, self.rows, 4 * self.chunks, "int32", bias=False, residual=False, order=self.order,
            activation="", few=self.few,
        )  # fmt: skip
