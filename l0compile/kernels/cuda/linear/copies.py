"""Copies of a tile from global to shared memory by all threads of a block: asynchronous ones, or through registers."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.shared_tile import CHUNK, SharedTile
from l0compile.kernels.tir import TB, tirx

# (how many of its rows the thread copied before, number within a chunk) -> (pointer to what is copied, existence)
CopySource = Callable[[int, int], tuple[Expr, Expr]]


@dataclass(frozen=True)
class TileCopy:
    """How threads share the chunks of a tile: each copies the same chunk of some rows.

    Attributes:
        tile: where the numbers go.
        threads: of the block.
        thread: number of this one.
        numbers: of a chunk.
        piece: numbers that are copied at once.
        asynchronous: by ``cp.async``; else ``fetch`` reads them into registers, and ``put`` stores these.
    """

    tile: SharedTile
    threads: int
    thread: Expr
    numbers: int
    piece: int
    asynchronous: bool

    @property
    def chunk(self) -> Expr:
        """The chunk of a row that this thread copies."""
        return self.thread % self.tile.chunks

    @property
    def row(self) -> Expr:
        """The first row of which it does."""
        return self.thread // self.tile.chunks

    @property
    def step(self) -> int:
        """Rows between two of this thread."""
        return self.threads // self.tile.chunks

    @property
    def piece_bytes(self) -> int:
        return CHUNK // self.numbers * self.piece

    def registers(self) -> Any:
        """What ``fetch`` and ``put`` hand over; None where nothing is."""
        return None if self.asynchronous else ptx.registers(4 * self._turns)

    def fetch(self, to: Expr, source: CopySource, registers: Any) -> None:
        """Begin to copy a tile to the shared address ``to``."""
        for turn in range(self._turns):
            with self._in_tile(turn):
                for number in range(0, self.numbers, self.piece):
                    pointer, live = source(turn, number)
                    first = number * CHUNK // self.numbers
                    if self.asynchronous:
                        ptx.cp_async(to + self._place(turn) + first, pointer, self.piece_bytes, live)
                    else:
                        self._read(registers, 16 * turn + first, pointer, live)

    def put(self, to: Expr, registers: Any) -> None:
        """End what ``fetch`` began; asynchronous copies end by themselves."""
        if self.asynchronous:
            return
        for turn in range(self._turns):
            with self._in_tile(turn):
                ptx.store_shared(to + self._place(turn), ptx.at(registers, 4 * turn))

    @property
    def _turns(self) -> int:
        return max(1, self.tile.rows // self.step)

    def _place(self, turn: int) -> Expr:
        return self.tile.place(self.row + turn * self.step, self.chunk)

    @contextlib.contextmanager
    def _in_tile(self, turn: int) -> Iterator[None]:
        """Code that runs in threads that have such a row."""
        with contextlib.ExitStack() as stack:
            if self.tile.rows < self.step:
                stack.enter_context(TB.If(self.row < self.tile.rows))
                stack.enter_context(TB.Then())
            yield

    def _read(self, registers: Any, first: int, pointer: Expr, live: Expr) -> None:
        """A piece into the registers that begin at byte ``first``, zeros where it does not exist."""
        word, zero = first // 4, tirx.const(0, "uint32")
        if self.piece_bytes == 2:
            self._read_16(registers, word, first % 4, pointer, live)
            return
        words = self.piece_bytes // 4
        for i in range(words):
            store(registers, zero, word + i)
        with TB.If(live), TB.Then():
            ptx.load_global(ptx.at(registers, word), pointer, words)

    def _read_16(self, registers: Any, word: int, byte: int, pointer: Expr, live: Expr) -> None:
        if byte == 0:
            store(registers, tirx.const(0, "uint32"), word)
        with TB.If(live), TB.Then():
            bits = ptx.load_global_16(pointer)
            high = TB.bitwise_or(registers[word], TB.shift_left(bits, tirx.const(16, "uint32")))
            store(registers, high if byte else bits, word)
