"""The columns of k that a tile multiplies, one after the other: all of a dense layer's, a block row's of a sparse one.

The blocks of a block row lie one behind the other, and each holds the rows of its columns together. So the columns of
all its blocks are one stream, whatever the shape of a block: position p of it is row ``start + p`` of the matrix
[nnz * cols, rows] that ``data`` is, and stages cut it anywhere.
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec
from l0compile.kernels.cuda.linear.tensors import CudaLinearTensors, per_chunk
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class Stream:
    """The columns of one tile.

    Attributes:
        spec, to: what is computed.
        start: columns of the blocks before those of this block row; 0 of a dense layer.
        length: columns of the stream, zero blocks left out.
    """

    spec: CudaLinearSpec
    to: CudaLinearTensors
    start: Expr
    length: Expr

    @property
    def run(self) -> int:
        """Numbers of a chunk that lie side by side in x for certain."""
        each = per_chunk(self.spec.dtype)
        return each if self.spec.dense else gcd(each, self.spec.cols)

    def columns(self) -> Any:
        """Registers for the columns of x that a thread copies into one chunk: the first of each run."""
        return ptx.registers(per_chunk(self.spec.dtype) // self.run, "int32")

    def find(self, columns: Any, position: Expr) -> None:
        """Read the columns of x for the chunk at ``position`` of the stream; k where the stream has ended."""
        for number in range(per_chunk(self.spec.dtype) // self.run):
            place = position + number * self.run
            if self.spec.dense:
                store(columns, place, number)
                continue
            store(columns, self.spec.k, number)
            cols, first = self.spec.cols, self.start // self.spec.cols
            with TB.If(place < self.length), TB.Then():
                block = self.to.indices[TB.cast(first + place // cols, "int64")]
                store(columns, block * cols + place % cols, number)


def dense_stream(spec: CudaLinearSpec, to: CudaLinearTensors) -> Stream:
    return Stream(spec, to, 0, spec.k)


def sparse_stream(spec: CudaLinearSpec, to: CudaLinearTensors, block_row: Expr) -> Stream:
    begin, end = (ptx.kept(to.indptr[TB.cast(block_row + i, "int64")]) for i in (0, 1))
    return Stream(spec, to, ptx.kept(begin * spec.cols), ptx.kept((end - begin) * spec.cols))
