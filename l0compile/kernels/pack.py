"""Moving between rows [M, F] and packed tokens [T, F, L] (oracles: ``l0compile::pack`` and ``l0compile::unpack``)."""

from l0compile._tvm import TB
from l0compile.kernels.lanes import body, kernel, param, store, symbol
from l0compile.kernels.spec import PackSpec, TokenTile


def pack(spec: PackSpec, tile: TokenTile):  # type: ignore[no-untyped-def]
    """PrimFunc(x, y): x [M, F] -> y [T, F, L], or back when ``spec.unpack``; M and T are symbolic."""
    with kernel("unpack" if spec.unpack else "pack") as builder:
        tokens, tiles = symbol("tokens"), symbol("tiles")
        rows = ("rows", (tokens, spec.features))
        packed = ("packed", (tiles, spec.features, tile.lanes))
        source, target = (packed, rows) if spec.unpack else (rows, packed)
        x, y = param(*source), param(*target)
        with body(), TB.parallel(0, tiles) as t:
            live = TB.min(tokens - t * tile.lanes, tile.lanes)
            with TB.serial(0, live) as lane, TB.serial(0, spec.features) as f:
                if spec.unpack:
                    store(y, x[t, f, lane], t * tile.lanes + lane, f)
                else:
                    store(y, x[t * tile.lanes + lane, f], t, f, lane)
            if not spec.unpack:
                with TB.serial(live, tile.lanes) as lane, TB.serial(0, spec.features) as f:
                    store(y, TB.float32(0), t, f, lane)
    return builder.get()
