"""Which tile a thread block computes."""

from dataclasses import dataclass

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule, CudaLinearSpec
from l0compile.kernels.cuda.linear.stream import Stream, dense_stream, sparse_stream
from l0compile.kernels.cuda.linear.tensors import CudaLinearTensors
from l0compile.kernels.tir import TB

# Tiles of tokens that go through all outputs together: the second cache keeps what they read of x.
_GROUP = 16


@dataclass(frozen=True)
class Work:
    """The tiles of a layer, each in ``splits`` parts along k, in one row: grids have 65,535 rows at most.

    A group of token tiles computes one tile of outputs after the other, the block rows with most blocks first when
    there is an order, so that the short ones fill what is left at the end.
    """

    spec: CudaLinearSpec
    schedule: CudaLinearSchedule
    to: CudaLinearTensors

    @property
    def output_tiles(self) -> int:
        if self.spec.dense:
            return -(-self.spec.n // self.schedule.outputs)
        return -(-self.spec.n // self.spec.rows) * (self.spec.rows // self.schedule.outputs)

    @property
    def token_tiles(self) -> Expr:
        return (self.to.tokens + self.schedule.tokens - 1) // self.schedule.tokens

    @property
    def items(self) -> Expr:
        """Parts of tiles."""
        return self.token_tiles * (self.output_tiles * self.schedule.splits)

    def place(self, item: Expr) -> "Place":
        """What part number ``item`` is; an item past the last one has no tokens."""
        tiles = ptx.kept(TB.cast(self.token_tiles, "int32"))
        split, tile = ptx.kept(item % self.schedule.splits), item // self.schedule.splits
        group = ptx.kept(tile // (_GROUP * self.output_tiles))
        inside = ptx.kept(tile % (_GROUP * self.output_tiles))
        size = ptx.kept(TB.max(TB.min(tiles - group * _GROUP, _GROUP), 1))
        token = ptx.kept((group * _GROUP + TB.truncmod(inside, size)) * self.schedule.tokens)
        output = ptx.kept(TB.truncdiv(inside, size))
        if self.spec.dense:
            return Place(
                token, ptx.kept(output * self.schedule.outputs), split, dense_stream(self.spec, self.to)
            )
        each = self.spec.rows // self.schedule.outputs
        row, inside = output // each, output % each * self.schedule.outputs
        block_row = ptx.kept(row if self.to.order is None else self.to.order[TB.cast(row, "int64")])
        stream = sparse_stream(self.spec, self.to, block_row)
        return Place(token, ptx.kept(block_row * self.spec.rows + inside), split, stream)


@dataclass(frozen=True)
class Place:
    """The tile at (token, output), and which of the parts of its stream."""

    token: Expr
    output: Expr
    split: Expr
    stream: Stream
