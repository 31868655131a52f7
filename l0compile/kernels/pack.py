"""Moving between rows [M, F] and packed tokens [T, F, L] (oracles: ``l0compile::pack`` and ``l0compile::unpack``)."""

from typing import Any

from l0compile._tvm import TB
from l0compile.kernels.lanes import Expr, body, kernel, param, store, symbol
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
            with TB.serial(0, live) as lane:
                token = t * tile.lanes + lane
                _each_feature(
                    spec,
                    first,
                    lambda f: (
                        store(y, x[t, f, lane], token, f)
                        if spec.unpack
                        else store(y, x[token, f], t, f, lane)
                    ),
                )
            if not spec.unpack:
                # The register that holds the last token is whole for whoever reads it.
                whole = (live + tile.vector - 1) // tile.vector * tile.vector
                with TB.serial(0, whole - live) as dead:
                    _each_feature(spec, first, lambda f: store(y, TB.float32(0), t, f, live + dead))
    return builder.get()


def _each_feature(spec: PackSpec, first: Expr, write: Any) -> None:
    if spec.features % _CHUNK == 0:
        for f in range(_CHUNK):
            write(first + f)
    else:
        with TB.serial(0, TB.min(_CHUNK, spec.features - first)) as f:
            write(first + f)
