"""The lists of a row program as a kernel reads them: an entry that is out of range never leads outside of memory."""

from dataclasses import dataclass
from typing import Any

from l0compile.ir.ops.attention.packed_block import EDGE
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec, ListAxes
from l0compile.kernels.cpu.lanes import Expr, held, param, symbol
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class ListBuffers:
    """Numbers that each row lists: ``counts`` [b, h, R] and ``entries`` [b, h, R, C]."""

    axes: ListAxes
    counts: Any
    entries: Any

    def count(self, *row: Expr) -> Expr:
        """How many entries a row (sequence, head, row) has."""
        places = TB.cast(self.entries.shape[3], "int64")
        return held(within(self.counts[_at(self.axes, self.counts, *row)], places))

    def entry(self, place: Expr, limit: Expr, *row: Expr) -> Expr:
        """An entry of a row, below ``limit``."""
        last = TB.cast(self.entries.shape[3], "int64") - 1
        return within(self.entries[(*_at(self.axes, self.counts, *row), within(place, last))], limit - 1)


@dataclass(frozen=True)
class ProgramBuffers:
    """The lists of all rows.

    Attributes:
        full: blocks that are seen whole, or None.
        partial: blocks that are seen by a pattern, or None.
        patterns: [P, k_block + 2 * EDGE, q_block + 2 * EDGE] int8, or None.
        numbers: the pattern of each partial block.
        columns: single keys, or None.
    """

    full: ListBuffers | None
    partial: ListBuffers | None
    patterns: Any
    numbers: ListBuffers | None
    columns: ListBuffers | None


def program_buffers(spec: BlockAttentionSpec, batch: Expr) -> ProgramBuffers:
    """Declare the parameters of a row program, in the order of the operator."""
    full = _list("full", spec, spec.full, batch)
    partial = _list("partial", spec, spec.partial, batch)
    numbers = patterns = None
    if partial and spec.pattern_numbers:
        sizes = _sizes(spec, spec.pattern_numbers, batch)
        extents = (*sizes, partial.counts.shape[2], partial.entries.shape[3])
        numbers = ListBuffers(
            spec.pattern_numbers, partial.counts, param("pattern_numbers", extents, "int32")
        )
        shape = (symbol("patterns_n"), spec.k_block + 2 * EDGE, spec.q_block + 2 * EDGE)
        patterns = param("patterns", shape, "int8")
    return ProgramBuffers(full, partial, patterns, numbers, _list("column", spec, spec.columns, batch))


def within(value: Expr, most: Expr) -> Expr:
    """An int64 from 0 to ``most``."""
    return TB.max(TB.min(TB.cast(value, "int64"), most), TB.int64(0))


def _list(name: str, spec: BlockAttentionSpec, axes: ListAxes | None, batch: Expr) -> ListBuffers | None:
    if axes is None:
        return None
    sizes = (*_sizes(spec, axes, batch), symbol(f"{name}_rows"))
    counts = param(f"{name}_counts", sizes, "int32")
    return ListBuffers(axes, counts, param(f"{name}_entries", (*sizes, symbol(f"{name}_places")), "int32"))


def _sizes(spec: BlockAttentionSpec, axes: ListAxes, batch: Expr) -> tuple[Expr, Expr]:
    return (batch if axes.batch else 1), (spec.attention.heads if axes.head else 1)


def _at(axes: ListAxes, counts: Any, sequence: Expr, head: Expr, row: Expr) -> tuple[Expr, ...]:
    last = TB.cast(counts.shape[2], "int64") - 1
    return (sequence if axes.batch else 0), (head if axes.head else 0), TB.min(row, last)
