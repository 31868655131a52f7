"""From the sums of a tile to the tokens of the result."""

from math import gcd

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.attention.engine import ProductEngine
from l0compile.kernels.cuda.attention.softmax import Softmax
from l0compile.kernels.cuda.attention.task import CudaOperands, QueryTile
from l0compile.kernels.cuda.ptx import kept, registers
from l0compile.kernels.tir import TB

_WORD = 4


def write_results(given: CudaOperands, tile: QueryTile, engine: ProductEngine, softmax: Softmax) -> None:
    """Write each warp's rows by way of shared memory, as many bytes at a time as their places in the result allow."""
    rows = softmax.finish(given.spec.scale)
    ptx.barrier()  # results take the place of keys and values that others may still read
    engine.keep_results()
    ptx.warp_barrier()
    spec, schedule = given.spec, given.schedule
    size = gcd(16, spec.value_dim * spec.bytes, spec.result_width * spec.bytes)
    chunks = spec.value_dim * spec.bytes // size
    total = schedule.warp_rows * chunks
    for step in range(-(-total // 32)):
        number = tile.lane + step * 32
        row = kept(TB.truncdiv(number, chunks) + tile.warp * schedule.warp_rows)
        live = tile.first + row < tile.end
        live = TB.And(live, number < total) if (step + 1) * 32 > total else live
        with TB.If(live), TB.Then():
            _copy(given, tile, row, TB.truncmod(number, chunks), size)
    if spec.log_sum_exp:
        _write_logarithms(given, tile, engine, rows)


def _copy(given: CudaOperands, tile: QueryTile, row: Expr, chunk: Expr, size: int) -> None:
    """Move ``size`` bytes of one row from shared memory to the result."""
    spec = given.spec
    source = tile.shared + row * (given.plan.value_row * spec.bytes)
    at = (
        tile.sequence,
        TB.cast(tile.first + row, "int64"),
        tile.head * spec.value_dim + chunk * (size // spec.bytes),
    )
    if size < _WORD:
        _copy_half(given, source, chunk, at)
        return
    words, count = registers(size // _WORD), size // _WORD
    ptx.load_shared(ptx.at(words), source + chunk * size, count)
    ptx.store_global(TB.address_of(given.y[at]), ptx.at(words), count)


def _copy_half(given: CudaOperands, source: Expr, number: Expr, at: tuple[Expr, ...]) -> None:
    """Move one number of 16 bits: results of an odd width have no other common alignment."""
    word = registers(1)
    ptx.load_shared(ptx.at(word), source + TB.truncdiv(number, 2) * _WORD, 1)
    half = TB.shift_right(word[0], TB.cast(TB.truncmod(number, 2) * 16, "uint32"))
    ptx.store_global_16(TB.address_of(given.y[at]), half)


def _write_logarithms(
    given: CudaOperands, tile: QueryTile, engine: ProductEngine, rows: list[tuple[Expr, Expr]]
) -> None:
    spec, shared = given.spec, 1 << len(engine.sharing)
    feature = spec.heads * spec.value_dim + tile.head
    for number, (top, total) in zip(engine.rows, rows, strict=True):
        query = kept(tile.first + engine.row(number))
        with TB.If(TB.And(query < tile.end, TB.truncmod(tile.lane, shared) == 0)), TB.Then():
            value = TB.Select(total == TB.float32(0), TB.float32(float("-inf")), top + TB.log(total))
            store(given.y, TB.cast(value, spec.dtype), tile.sequence, TB.cast(query, "int64"), feature)
