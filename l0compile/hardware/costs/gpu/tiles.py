"""Thread blocks on multiprocessors: waves, and rows of blocks that are not equally long."""

import heapq
from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

# From this many tiles for each multiprocessor on, dealing them out is not simulated: it ends evenly.
_MANY = 4
_MOST_PARTS = 8


def makespan(tiles: Sequence[float], copies: int, multiprocessors: int) -> float:
    """The work of the busiest multiprocessor when ``copies`` of each tile are dealt out, the longest first.

    Args:
        tiles: work of each kind of tile, in any unit.
        copies: of each.
        multiprocessors: that share them; each takes the next tile when it is done with one.
    """
    total, longest = copies * sum(tiles), max(tiles, default=0.0)
    if copies * len(tiles) > _MANY * multiprocessors:
        return total / multiprocessors + longest / 2
    loads = [0.0] * multiprocessors
    for tile in sorted(tiles, reverse=True):
        for _ in range(copies):
            heapq.heapreplace(loads, loads[0] + tile)
    return max(loads)


def expected_lengths(rows: int, columns: int, density: float) -> list[float]:
    """Blocks kept in each of ``rows`` rows of ``columns`` blocks when each block is kept by chance, in order.

    The quantiles of a normal distribution with the deviation of the binomial one, scaled to its mean.
    """
    mean, deviation = columns * density, sqrt(columns * density * max(0.0, 1 - density))
    if deviation == 0.0:
        return [mean] * rows
    spread = NormalDist(mean, deviation)
    lengths = [min(float(columns), max(0.0, spread.inv_cdf((i + 0.5) / rows))) for i in range(rows)]
    scale = mean * rows / sum(lengths)
    return [min(float(columns), scale * length) for length in lengths]


def splits(tiles: int, multiprocessors: int) -> int:
    """In how many parts each sum is cut so that few tiles keep all multiprocessors busy.

    Args:
        tiles: results that can be computed side by side.
        multiprocessors: of the card.
    """
    return min(_MOST_PARTS, max(1, multiprocessors // tiles))
