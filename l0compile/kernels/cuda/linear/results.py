"""What becomes of the sums of a tile: bias, activation and residual are added on the way to memory."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from l0compile.kernels.cpu.lanes import Expr, activated, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.numbers import RowPointer, load_numbers, row_of, store_numbers
from l0compile.kernels.cuda.linear.pipeline import WarpProduct
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec
from l0compile.kernels.cuda.linear.tensors import CudaLinearTensors, per_chunk
from l0compile.kernels.cuda.linear.warp import WarpPart
from l0compile.kernels.tir import TB

# Tokens of a warp whose sums are in shared memory at once.
_AT_ONCE = 16


class TileEpilogue(Protocol):
    """What becomes of sums: chunks of neighbouring outputs of one token."""

    @property
    def count(self) -> int:
        """Outputs of a chunk, a multiple of four."""

    @property
    def sums(self) -> str:
        """The type of sums, "float32" or "int32"."""

    @property
    def tokens(self) -> Expr:
        """Rows of the result."""

    def bias(self, column: Expr) -> Any:
        """Read what each chunk from ``column`` on needs, whatever its row."""

    def write(self, sums: Any, bias: Any, row: Expr, column: Expr) -> None:
        """Finish a chunk of a row (int64); ``bias`` is what was read for its column."""


@dataclass(frozen=True)
class LinearEpilogue:
    """Chunks of results: neighbouring outputs of one token, as many as 16 bytes hold.

    Attributes:
        spec, to: what is computed.
        row: where the results of a row go.
        pairs: there are instructions that round two numbers.
    """

    spec: CudaLinearSpec
    to: CudaLinearTensors
    row: Callable[[Expr], RowPointer]
    pairs: bool

    @property
    def count(self) -> int:
        """Numbers of a chunk."""
        return per_chunk(self.spec.dtype)

    @property
    def sums(self) -> str:
        """The type of sums."""
        return "float32"

    @property
    def tokens(self) -> Expr:
        """Rows of y."""
        return self.to.tokens

    def of_parts(self, parts: "Parts") -> "LinearEpilogue":
        """Sums as they are, to ``parts``."""
        plain = replace(self.spec, dtype="float32", bias=False, residual=False, activation="")
        return replace(self, spec=plain, row=parts.row)

    def bias(self, column: Expr) -> Any:
        """The bias of a chunk in registers; None without one."""
        if not self.spec.bias:
            return None
        values = ptx.registers(self.count, "float32")
        load_numbers(values, row_of(self.to.bias), column, self.count, self.spec.n, self.spec.dtype)
        return values

    def write(self, sums: Any, bias: Any, row: Expr, column: Expr) -> None:
        """activation(sums + bias) + residual to a row (int64) of y."""
        if bias is not None or self.spec.activation:
            for i in range(self.count):
                value = ptx.kept(sums[i] + bias[i], "float32") if bias is not None else sums[i]
                store(sums, keeping_nan(value, self.spec.activation), i)
        if self.spec.residual:
            others = ptx.registers(self.count, "float32")
            added = row_of(self.to.residual, row)
            load_numbers(others, added, column, self.count, self.spec.n, self.spec.dtype)
            for i in range(self.count):
                store(sums, sums[i] + others[i], i)
        store_numbers(sums, self.row(row), column, self.count, self.spec.n, self.spec.dtype, self.pairs)


def keeping_nan(value: Expr, name: str) -> Expr:
    """The activation ``name``. Maxima on GPUs drop NaN, which PyTorch's activations keep."""
    return TB.Select(TB.isnan(value), value, activated(value, name)) if name else value


@dataclass(frozen=True)
class Parts:
    """The sums of parts of k, float32 [splits * tokens, n].

    TVM makes a buffer of its own as small as what it sees of accesses. It sees the first number of each chunk only, so
    it must not see these as elements.
    """

    memory: Any
    n: int

    def row(self, row: Expr) -> RowPointer:
        return lambda column: self.memory.access_ptr("rw", offset=row * self.n + TB.cast(column, "int64"))


@dataclass(frozen=True)
class WarpResults:
    """The way of a warp's sums through shared memory, so that neighbouring lanes write neighbouring chunks.

    Attributes:
        epilogue: what is written.
        part: the part of the tile.
        memory: shared address that no stage is read from any more.
    """

    epilogue: TileEpilogue
    part: WarpPart
    memory: Expr

    @property
    def tile(self) -> SharedTile:
        """Of one warp."""
        return SharedTile(_AT_ONCE, self.part.outputs // 4, in_pairs=True)

    def write(self, product: WarpProduct, sums: Any, token: Expr, output: Expr, first_row: Expr) -> None:
        """The sums of the tile at (token, output); the results of a token go to row ``first_row`` + token of y."""
        memory = ptx.kept(self.memory + self.part.warp * self.tile.bytes)
        count = self.epilogue.count
        lanes = self.part.outputs // count
        chunk = self.part.lane % lanes
        column = ptx.kept(output + self.part.first_output + chunk * count)
        bias, values = self.epilogue.bias(column), ptx.registers(count, self.epilogue.sums)
        for tokens in range(0, self.part.tokens, _AT_ONCE):
            product.write(sums, tokens, memory, self.tile)
            self._wait()
            with self._rows(lanes) as row:
                self._read(values, memory, row, chunk * (count // 4))
                found = ptx.kept(TB.cast(token + self.part.first_token + tokens + row, "int64"), "int64")
                with TB.If(found < self.epilogue.tokens), TB.Then():
                    self.epilogue.write(values, bias, first_row + found, column)
            self._wait()

    def _wait(self) -> None:
        if self.part.slices == 1:
            ptx.warp_barrier()
        else:
            ptx.barrier()

    @contextlib.contextmanager
    def _rows(self, lanes: int) -> Iterator[Expr]:
        """The rows of the tile that this lane writes; warps that have the same part of it take turns."""
        at_once, slices = 32 // lanes, self.part.slices
        with contextlib.ExitStack() as stack:
            turn = stack.enter_context(ptx.loop(-(-_AT_ONCE // (at_once * slices))))
            row = self.part.lane // lanes + (turn * slices + self.part.k_slice) * at_once
            if _AT_ONCE % (at_once * slices):
                stack.enter_context(TB.If(row < _AT_ONCE))
                stack.enter_context(TB.Then())
            yield row

    def _read(self, values: Any, memory: Expr, row: Expr, chunk: Expr) -> None:
        """The sums of a chunk of results, of all slices of k."""
        apart = self.part.apart * self.tile.bytes
        dtype = self.epilogue.sums
        other, first = ptx.registers(4, dtype), memory - self.part.k_slice * apart
        for i in range(self.epilogue.count // 4):
            place = self.tile.place(row, chunk + i)
            for k_slice in range(self.part.slices):
                to = ptx.at(other if k_slice else values, 0 if k_slice else 4 * i)
                ptx.load_shared(to, first + k_slice * apart + place, 4, dtype)
                for j in range(4 if k_slice else 0):
                    store(values, values[4 * i + j] + other[j], 4 * i + j)
