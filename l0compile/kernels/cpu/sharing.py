"""How the threads of a convolution share its work: by pixels, or by rows of the weight."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

# Share by which one thread may have more to do than another before the other way to cut the work is tried.
_TOLERATED = 0.1


@contextmanager
def tasks(images: Expr, tiles: int, threads: int, by_rows: bool) -> Iterator[tuple[Expr, Expr, Expr]]:
    """A parallel loop over (image, tile of it, thread that does its share of the rows)."""
    with TB.parallel(0, images * tiles * threads) as task:
        rest = task % (images * tiles) if by_rows else task // threads
        thread = task // (images * tiles) if by_rows else task % threads
        yield rest // tiles, rest % tiles, thread


def rows_share_better(extent: int, step: int, blocks: int, tile: TokenTile) -> bool:
    """Whether threads share one image of ``extent``, cut in tiles of ``step``, more evenly by blocks of rows.

    Tiles are better where both are as even: what a thread wrote is then still in its cache when it reads it.
    """
    # The first threads have whole tiles, the last one what is left.
    by_tiles = -(-extent // step) * step / extent
    by_rows = -(-blocks // tile.threads) * tile.threads / blocks
    return by_rows + _TOLERATED < by_tiles


@contextmanager
def share(dense: bool, blocks: int, threads: int, thread: Expr) -> Iterator[Any]:
    """A loop over one thread's blocks of rows.

    Neighbours when dense, so that weights come in one stream; when sparse, every ``threads``-th one, which gives each
    thread about as many nonzeros.
    """
    each = -(-blocks // threads)
    count = TB.min(each, blocks - thread * each) if dense else (blocks - thread + threads - 1) // threads
    # Loops start at zero: TVM 0.27 drops the start of a loop whose extent it proves to be small.
    with TB.serial(0, count) as i:
        yield thread * each + i if dense else i * threads + thread
