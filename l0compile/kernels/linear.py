"""Linear layer, dense or block-sparse, tokens in lanes (oracle: ``l0compile::packed_linear``).

Microkernel: rows x vectors accumulators; for every stored block column, one vector load per register of tokens and one
broadcast weight per row. A block taller than the microkernel is walked in groups of ``tile.rows`` rows.
"""

from functools import partial
from math import gcd

from l0compile._tvm import TB
from l0compile.kernels.lanes import (
    ACTIVATIONS,
    Expr,
    body,
    kernel,
    local,
    param,
    splat,
    store,
    symbol,
    vectors,
)
from l0compile.kernels.spec import LinearSpec, TokenTile

# Block columns beyond this are looped, not unrolled: longer bodies only inflate the code and start to spill.
_UNROLL_COLS = 8


def linear(spec: LinearSpec, tile: TokenTile):  # type: ignore[no-untyped-def]
    """PrimFunc(x, data[, indices, indptr][, bias][, residual], y); tiles and nnz are symbolic."""
    blocks = -(-spec.n // spec.rows)
    with kernel("linear") as builder:
        tiles, nnz = symbol("tiles"), symbol("nnz")
        x = param("x", (tiles, spec.k, tile.lanes))
        data = param("data", (nnz, spec.cols, spec.rows))
        indices = None if spec.dense else param("indices", (nnz,), "int32")
        indptr = None if spec.dense else param("indptr", (blocks + 1,), "int32")
        bias = param("bias", (spec.n,)) if spec.bias else None
        residual = param("residual", (tiles, spec.n, tile.lanes)) if spec.residual else None
        y = param("y", (tiles, spec.n, tile.lanes))
        # A tile's rows are cut in one chunk per thread, so that one tile (or an odd number) still fills all of them.
        chunks = max(1, min(tile.threads, blocks))
        per_chunk = -(-blocks // chunks)
        with body(), TB.parallel(0, tiles * chunks) as task:
            t, chunk = task // chunks, task % chunks
            # Loops start at zero: TVM 0.27 drops the start of a loop whose extent it proves to be small.
            with TB.serial(0, TB.min(per_chunk, blocks - chunk * per_chunk)) as i:
                _row_block(spec, tile, t, chunk * per_chunk + i, x, data, indices, indptr, bias, residual, y)
    return builder.get()


def _row_block(spec, tile, t, j, x, data, indices, indptr, bias, residual, y):  # type: ignore[no-untyped-def]
    rows = spec.rows if spec.rows <= tile.rows else gcd(spec.rows, tile.rows)
    with TB.serial(0, spec.rows // rows) if rows < spec.rows else _once() as group:
        acc = local((rows, tile.lanes))
        first = j * spec.rows + group * rows
        for r in range(rows):
            # Rows past n (ragged last block) start from some in-range bias and are never stored.
            start = bias[TB.min(first + r, spec.n - 1)] if bias is not None else TB.float32(0)
            for s in vectors(tile):
                store(acc, splat(start, tile), r, s)
        begin = indptr[j] if indptr is not None else j * spec.k
        end = indptr[j + 1] if indptr is not None else (j + 1) * spec.k
        with TB.serial(0, end - begin) as i:
            p = begin + i
            column = (indices[p] if indices is not None else i) * spec.cols
            # Columns past k (ragged last block) have zero weights; they read a live feature, as 0 * garbage may be NaN.
            feature = partial(_feature, spec, column)
            _columns(
                spec,
                tile,
                acc,
                rows,
                lambda c, r: data[p, c, group * rows + r],
                lambda c, s: x[t, feature(c), s],
            )
        for r in range(rows):
            _finish(spec, tile, acc, r, t, first + r, residual, y)


def _feature(spec: LinearSpec, column: Expr, c: Expr) -> Expr:
    return column + c if spec.k % spec.cols == 0 else TB.min(column + c, spec.k - 1)


class _once:
    """A loop of one turn that leaves no loop in the IR."""

    def __enter__(self) -> int:
        return 0

    def __exit__(self, *_: object) -> None:
        return None


def _columns(spec, tile, acc, rows, weight, tokens):  # type: ignore[no-untyped-def]
    def body(c: Expr) -> None:
        for r in range(rows):
            for s in vectors(tile):
                store(acc, acc[r, s] + splat(weight(c, r), tile) * tokens(c, s), r, s)

    if spec.cols <= _UNROLL_COLS:
        for c in range(spec.cols):
            body(c)
    else:
        with TB.serial(0, spec.cols) as c:
            body(c)


def _finish(spec, tile, acc, r, t, row, residual, y):  # type: ignore[no-untyped-def]
    def write() -> None:
        for s in vectors(tile):
            value = ACTIVATIONS[spec.activation](acc[r, s])
            store(y, value if residual is None else value + residual[t, row, s], t, row, s)

    if spec.n % spec.rows == 0:
        write()
    else:
        with TB.If(row < spec.n), TB.Then():
            write()
