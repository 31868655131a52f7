"""The lists of a row program as a kernel for CUDA reads them: no entry leads outside of memory."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.attention.block.spec import ListAxes
from l0compile.kernels.cpu.lanes import Expr, param, symbol
from l0compile.kernels.cuda.attention.spec import CudaBlockAttentionSpec
from l0compile.kernels.cuda.attention.task import QueryTile, SizesOfCall
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class ListOperand:
    """A list of a row program, ``counts`` [b, h, R] and ``entries`` [b, h, R, C]; no number leads out of its range."""

    axes: ListAxes
    counts: Any
    entries: Any

    def count(self, tile: QueryTile, row: Expr) -> Expr:
        """How many entries a row has."""
        return _within(self.counts[self._at(tile, row)], TB.cast(self.entries.shape[3], "int32"))

    def entry(self, tile: QueryTile, row: Expr, place: Expr, limit: Expr) -> Expr:
        """An entry of a row, below ``limit``."""
        place = _within(place, TB.cast(self.entries.shape[3], "int32") - 1)
        return _within(self.entries[(*self._at(tile, row), TB.cast(place, "int64"))], limit - 1)

    def _at(self, tile: QueryTile, row: Expr) -> tuple[Expr, Expr, Expr]:
        row = TB.min(row, TB.cast(self.counts.shape[2], "int32") - 1)
        sequence = tile.sequence if self.axes.batch else 0
        return sequence, tile.head if self.axes.head else 0, TB.cast(row, "int64")


@dataclass(frozen=True)
class RowProgramOperands:
    """The lists of all rows; None where there is no such list.

    Attributes:
        numbers: the pattern of each partial block.
        patterns: [P, q_block, k_block] bool.
    """

    full: ListOperand | None
    partial: ListOperand | None
    numbers: ListOperand | None
    patterns: Any
    columns: ListOperand | None


def row_program_operands(spec: CudaBlockAttentionSpec, sizes: SizesOfCall) -> RowProgramOperands:
    """Declare the parameters of a row program, in the order of the operator."""
    full = _list("full", spec, spec.full, sizes)
    partial = _list("partial", spec, spec.partial, sizes)
    numbers = patterns = None
    if partial and spec.pattern_numbers:
        shape = (
            *_sizes(spec, spec.pattern_numbers, sizes),
            partial.counts.shape[2],
            partial.entries.shape[3],
        )
        numbers = ListOperand(spec.pattern_numbers, partial.counts, param("pattern_numbers", shape, "int32"))
        patterns = param("patterns", (symbol("patterns_n"), spec.q_block, spec.k_block), "bool")
    return RowProgramOperands(full, partial, numbers, patterns, _list("column", spec, spec.columns, sizes))


def _list(
    name: str, spec: CudaBlockAttentionSpec, axes: ListAxes | None, sizes: SizesOfCall
) -> ListOperand | None:
    if axes is None:
        return None
    extents = (*_sizes(spec, axes, sizes), symbol(f"{name}_rows"))
    counts = param(f"{name}_counts", extents, "int32")
    return ListOperand(axes, counts, param(f"{name}_entries", (*extents, symbol(f"{name}_places")), "int32"))


def _sizes(spec: CudaBlockAttentionSpec, axes: ListAxes, sizes: SizesOfCall) -> tuple[Expr, Expr]:
    return (sizes.batch if axes.batch else 1), (spec.attention.heads if axes.head else 1)


def _within(value: Expr, most: Expr) -> Expr:
    """An int32 from 0 to ``most``."""
    return TB.max(TB.min(TB.cast(value, "int32"), most), TB.int32(0))
