"""Moving between rows [M, F] and packed tokens [T, F, L] (oracles: ``l0compile::pack`` and ``l0compile::unpack``)."""

from typing import Any

from l0compile.hardware._tvm import TB
from l0compile.kernels.cpu.lanes import Expr, body, joined, kernel, param, ramp, store, symbol
from l0compile.kernels.spec import PackSpec, TokenTile

# Features moved at once: a cache line of a row, so that every line of either side is touched in one go.
_CHUNK = 16


def pack(spec: PackSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, y): x [M, F] -> y [T, F, L], or back when ``spec.unpack``; M and T are symbolic."""
    with kernel("unpack" if spec.unpack else "pack") as builder:
        tokens, tiles = symbol("tokens"), symbol("tiles")
        rows_shape, packed_shape = (tokens, spec.features), (tiles, spec.features, tile.lanes)
        x = param("x", packed_shape if spec.unpack else rows_shape)
        y = param("y", rows_shape if spec.unpack else packed_shape)
        chunks = -(-spec.features // _CHUNK)
        with body(), TB.parallel(0, tiles * chunks) as task:
            t, first = task // chunks, (task % chunks) * _CHUNK
            live = TB.min(tokens - t * tile.lanes, tile.lanes)
            if spec.unpack:
                with TB.serial(0, live) as lane:
                    _to_row(spec, tile, x, y, t, lane, first)
            else:
                _from_rows(spec, tile, x, y, t, first, live)
    return builder.get()


def _to_row(spec: PackSpec, tile: TokenTile, x: Any, y: Any, t: Expr, lane: Expr, first: Expr) -> None:
    """Features from ``first`` on of one token. Whole registers are stored: a cache line that is not at hand is waited
    for once, not for each of its numbers."""
    token = t * tile.lanes + lane
    if spec.features % _CHUNK:
        _each_feature(spec, first, lambda f: store(y, x[t, f, lane], token, f))
        return
    for f in range(0, _CHUNK, tile.vector):
        values = [x[t, first + f + i, lane] for i in range(tile.vector)]
        store(y, joined(values), token, ramp(first + f, tile.vector))


def _from_rows(spec: PackSpec, tile: TokenTile, x: Any, y: Any, t: Expr, first: Expr, live: Expr) -> None:
    """Features from ``first`` on of the tokens of a tile, a register of tokens at once while there are enough."""
    full, token = live // tile.vector, t * tile.lanes
    with TB.serial(0, full) as register:
        start = register * tile.vector
        lanes = ramp(start, tile.vector)
        rows = range(tile.vector)
        _each_feature(
            spec, first, lambda f: store(y, joined([x[token + start + i, f] for i in rows]), t, f, lanes)
        )
    begin = full * tile.vector
    with TB.serial(0, live - begin) as i:
        _each_feature(spec, first, lambda f: store(y, x[token + begin + i, f], t, f, begin + i))
    # The register that holds the last token is whole for whoever reads it.
    with TB.serial(0, (live + tile.vector - 1) // tile.vector * tile.vector - live) as dead:
        _each_feature(spec, first, lambda f: store(y, TB.float32(0), t, f, live + dead))


def _each_feature(spec: PackSpec, first: Expr, write: Any) -> None:
    if spec.features % _CHUNK == 0:
        for f in range(_CHUNK):
            write(first + f)
    else:
        with TB.serial(0, TB.min(_CHUNK, spec.features - first)) as f:
            write(first + f)
