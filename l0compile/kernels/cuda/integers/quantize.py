"""Rounds rows to words of 8-bit integers on a GPU (oracle: ``l0compile::rows_quantize``): a word for each thread."""

from dataclasses import dataclass
from typing import Any

from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.lanes import body, kernel, param, symbol
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.integers.numbers import word_of
from l0compile.kernels.cuda.linear.numbers import load_numbers, row_of
from l0compile.kernels.tir import TB

_FEATURES = 4  # of a word
_THREADS = 256


@dataclass(frozen=True)
class CudaQuantizeSpec:
    """clamp(round(x * inverse) + zero_point, 0, 255), four features in a word.

    Attributes:
        features: of x.
        zero_point: what x = 0 becomes.
    """

    features: int
    zero_point: int


def cuda_quantize(spec: CudaQuantizeSpec, _: Target | None = None) -> Any:
    """PrimFunc(x [M, features], inverse [features], y [M, words]); M is symbolic, the last word is filled with 0."""
    words, rest = -(-spec.features // _FEATURES), spec.features % _FEATURES
    with kernel("cuda_quantize") as builder:
        rows = symbol("rows")
        x, inverse = param("x", (rows, spec.features)), param("inverse", (spec.features,))
        y = param("y", (rows, words), "int32")
        with (
            body(),
            TB.launch_thread("blockIdx.x", TB.max((rows * words + (_THREADS - 1)) // _THREADS, 1)) as block,
            TB.launch_thread("threadIdx.x", _THREADS) as thread,
        ):
            item = ptx.kept(TB.cast(block, "int64") * _THREADS + thread, "int64")
            row, word = ptx.kept(item // words, "int64"), ptx.kept(TB.cast(item % words, "int32"))
            with TB.If(row < rows), TB.Then():
                read = _WordReader(x, inverse, spec, row, word)
                if rest:
                    with TB.If(word == words - 1):
                        with TB.Then():
                            read.write(y, rest)
                        with TB.Else():
                            read.write(y, _FEATURES)
                else:
                    read.write(y, _FEATURES)
    return builder.get()


@dataclass(frozen=True)
class _WordReader:
    """One word of the result."""

    x: Any
    inverse: Any
    spec: CudaQuantizeSpec
    row: Any
    word: Any

    def write(self, y: Any, count: int) -> None:
        """Compute it from ``count`` features."""
        n, column = self.spec.features, self.word * _FEATURES
        values, inverses = (ptx.registers(_FEATURES, "float32") for _ in range(2))
        load_numbers(values, row_of(self.x, self.row), column, _FEATURES, n, "float32")
        load_numbers(inverses, row_of(self.inverse), column, _FEATURES, n, "float32")
        made = word_of(values, inverses, count, self.spec.zero_point)
        ptx.store_global(row_of(y, self.row)(self.word), ptx.at(made), 1)
