"""Rows of q, k and v on their way to shared memory, 16 bytes at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.attention.device_functions import both, fill
from l0compile.kernels.cuda.attention.task import CudaOperands, QueryTile
from l0compile.kernels.cuda.ptx import kept, registers
from l0compile.kernels.tir import TB

_CHUNK_BYTES = 16


@dataclass(frozen=True)
class TileRows:
    """A tile of rows of one head.

    Attributes:
        source: [batch, tokens, features].
        head: which one.
        dim: features of a head.
        count: rows of the tile.
        row: numbers of a row in shared memory, one chunk more than are filled.
        row_of: place in the tile -> (token, whether it is to be read); what is not is zeros.
    """

    source: Any
    head: Expr
    dim: int
    count: int
    row: int
    row_of: Callable[[Expr], tuple[Expr, Expr]]


def copy_tile(given: CudaOperands, tile: QueryTile, rows: TileRows, place: Expr) -> None:
    """Begin to copy ``rows`` to shared address ``place``; features past the head's are zeros, too."""
    chunks, threads = rows.row * given.spec.bytes // _CHUNK_BYTES - 1, given.schedule.threads
    total = rows.count * chunks
    slot, column = kept(TB.truncdiv(tile.thread, chunks)), kept(TB.truncmod(tile.thread, chunks))
    for turn in range(-(-total // threads)):
        number = tile.thread + turn * threads
        if threads % chunks == 0:  # all of a thread's chunks are in one column, the same number of rows apart
            at = (slot + turn * (threads // chunks), column)
        else:
            at = (kept(TB.truncdiv(number, chunks)), kept(TB.truncmod(number, chunks)))
        if (turn + 1) * threads > total:
            with TB.If(number < total), TB.Then():
                _copy_chunk(given, tile, rows, place, *at)
        else:
            _copy_chunk(given, tile, rows, place, *at)


def _copy_chunk(
    given: CudaOperands, tile: QueryTile, rows: TileRows, place: Expr, slot: Expr, column: Expr
) -> None:
    chunk, features = _CHUNK_BYTES // given.spec.bytes, rows.row - _CHUNK_BYTES // given.spec.bytes
    token, live = rows.row_of(slot)
    if rows.dim < features:
        live = both(live, column < rows.dim // chunk)
    to = place + (slot * rows.row + column * chunk) * given.spec.bytes
    at = (tile.sequence, TB.cast(token, "int64"), rows.head * rows.dim + column * chunk)
    origin = TB.address_of(rows.source[at])  # past the end where it is not live, and then never read
    if given.asynchronous:
        ptx.cp_async(to, origin, _CHUNK_BYTES, live)
    else:
        _copy_now(to, origin, live)


def _copy_now(to: Expr, origin: Expr, live: Expr) -> None:
    words = registers(4)
    fill(words, 4, TB.uint32(0))
    with TB.If(live), TB.Then():
        ptx.load_global(ptx.at(words), origin)
    ptx.store_shared(to, ptx.at(words))


def commit(given: CudaOperands) -> None:
    """Close a group of asynchronous copies."""
    if given.asynchronous:
        ptx.commit_group()


def wait(given: CudaOperands, groups: int) -> None:
    """Wait for all of this thread's groups but the latest ``groups``."""
    if given.asynchronous:
        ptx.wait_group(groups)
