"""What the microkernels of attention to listed keys work on: the buffers, one row's share, the groups of a step."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.attention.block.lists import ProgramBuffers
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec
from l0compile.kernels.cpu.attention.state import AttentionBuffers, QueryBlock
from l0compile.kernels.cpu.lanes import Expr, held, store, variable

STEP = 256
"""Keys of a step, see the attention to all keys."""


@dataclass(frozen=True)
class BlockBuffers:
    """The arguments of the kernel.

    Attributes:
        spec: what is computed.
        base: what it shares with attention to all keys; its ``bias`` is one by distance.
        program: the lists.
        key_rows: [batch, keys, kv*D], the keys of columns, or None.
        value_rows: the same for values.
    """

    spec: BlockAttentionSpec
    base: AttentionBuffers
    program: ProgramBuffers
    key_rows: Any
    value_rows: Any


@dataclass(frozen=True)
class RowShare:
    """The queries of one block that belong to one row; other lanes are computed but not kept.

    Attributes:
        queries: the block of queries.
        sequence: number of the sequence.
        row: number of the row in it.
        offset: number of the block's first query in the row; negative where the row begins inside of the block.
        place: number of the block's first query in the sequence.
        alone: no lane holds a result of an earlier row yet.
    """

    queries: QueryBlock
    sequence: Expr
    row: Expr
    offset: Expr
    place: Expr
    alone: Expr

    @property
    def at(self) -> tuple[Expr, Expr, Expr]:
        """What lists are read by."""
        return self.sequence, self.queries.head, self.row


@dataclass(frozen=True)
class KeyGroups:
    """The groups of keys of one step, as many keys each as there are accumulators.

    Attributes:
        count: how many there are.
        first: number of a group's first key among the packed keys; of columns, place in the list.
        low: its first row with a listed key.
        high: the row behind the last one.
        kind: pattern of a partial block, ``WHOLE`` or ``COLUMNS``.
        shift: row of the pattern that belongs to the first key.

    What a kernel does not need is None: ``low`` without blocks, ``kind`` where all groups are of one, ``shift`` without
    patterns.
    """

    count: Any
    first: Any
    low: Any
    high: Any
    kind: Any
    shift: Any

    def push(self, first: Expr, low: Expr, high: Expr, kind: Expr, shift: Expr) -> None:
        """Add a group."""
        place = held(self.count[0])
        for buffer, value in zip(
            (self.first, self.low, self.high, self.kind, self.shift),
            (first, low, high, kind, shift),
            strict=True,
        ):
            if buffer is not None:
                store(buffer, value, place)
        store(self.count, place + 1, 0)


WHOLE, COLUMNS = -1, -2


def key_groups(given: BlockBuffers, size: int) -> KeyGroups:
    """Room for ``size`` groups. What is not read is not there: TVM 0.27 goes wrong over a buffer without a reader."""
    blocks, patterns = given.spec.blocks, given.spec.partial is not None
    mixed = blocks and given.spec.columns is not None

    def numbers(wanted: bool) -> Any:
        return variable(size, "int64") if wanted else None

    some = [numbers(wanted) for wanted in (True, blocks, True, mixed or patterns, patterns)]
    return KeyGroups(variable(1, "int64"), *some)
