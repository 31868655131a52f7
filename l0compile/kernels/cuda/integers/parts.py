"""Sums of parts of k: where thread blocks leave theirs, and the kernel that adds them up."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.integers.numbers import load_integers, store_integers
from l0compile.kernels.cuda.integers.results import COUNT, IntegerEpilogue
from l0compile.kernels.cuda.linear.results import Parts
from l0compile.kernels.tir import TB

_THREADS = 128


@dataclass(frozen=True)
class PartialSums:
    """Sums of integers as they are, to rows of ``parts``: int32 [splits * tokens, n]."""

    parts: Parts
    tokens: Expr

    @property
    def count(self) -> int:
        """Outputs of a chunk."""
        return COUNT

    @property
    def sums(self) -> str:
        """The type of sums."""
        return "int32"

    def bias(self, _: Expr) -> Any:
        """Nothing is added."""

    def write(self, sums: Any, _: Any, row: Expr, column: Expr) -> None:
        """A chunk of a row (int64)."""
        store_integers(sums, self.parts.row(row), column, COUNT, self.parts.n)


def add_integer_parts(epilogue: IntegerEpilogue, parts: Parts, splits: int) -> None:
    """``parts`` -> y: each thread adds up and finishes a chunk of results."""
    n, tokens = epilogue.spec.n, epilogue.tokens
    chunks = -(-n // COUNT)
    blocks = (tokens * chunks + (_THREADS - 1)) // _THREADS
    with (
        TB.launch_thread("blockIdx.x", TB.max(blocks, 1)) as block,
        TB.launch_thread("threadIdx.x", _THREADS) as thread,
    ):
        item = ptx.kept(TB.cast(block, "int64") * _THREADS + thread, "int64")
        token = ptx.kept(item // chunks, "int64")
        column = ptx.kept(TB.cast(item % chunks, "int32") * COUNT)
        with TB.If(token < tokens), TB.Then():
            sums, part = (ptx.registers(COUNT, "int32") for _ in range(2))
            for split in range(splits):
                row = parts.row(split * tokens + token)
                load_integers(part if split else sums, row, column, COUNT, n)
                for i in range(COUNT if split else 0):
                    store(sums, sums[i] + part[i], i)
            epilogue.write(sums, epilogue.bias(column), token, column)
