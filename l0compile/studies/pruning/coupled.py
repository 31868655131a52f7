"""The time and loss of layers while some of the heads or neurons around them are closed.

A closed head removes the rows that produce it, in the layers that feed it, and the columns that read it. So these
layers have other levels for each number of open heads. Blocks in removed rows and columns take no time. The loss of
rows is known row by row; the loss of columns is shared out by the blocks pruned in the columns of open heads. The
weights that read the open heads compensate for the closed ones, and compensate less the fewer of them are left.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from l0compile.studies.pruning.level import Level, Shape
from l0compile.studies.pruning.prune import PruningPath

# Pruned weights lose the share (1 - density) ** this of what they could compensate. Measured on the attention outputs
# of MiniLM in blocks of 4x1, heads 0.92 to 0.08 and densities 0.65 to 0.27: within 5 % of the loss of pruning both,
# while the plain sum is up to 30 % too low.
_LESS_HELP = 1.5


@dataclass(frozen=True)
class Coupled:
    """The heads or neurons named ``units`` and the layers that depend on them.

    levels: for each layer, and for the units themselves, the levels at each level of the units.
    """

    units: str
    levels: Mapping[str, tuple[tuple[Level, ...], ...]]

    @property
    def cases(self) -> int:
        """The number of levels that the units have."""
        return len(self.levels[self.units])


@dataclass(frozen=True)
class Around:
    """A layer around heads or neurons.

    paths, levels: the layer's own, while all units are open. reads: whether its columns read the units; otherwise its
    rows produce them. size: the number of those columns or rows. ms: its time in blocks of a shape at a density.
    """

    paths: Mapping[Shape, PruningPath]
    levels: Sequence[Level]
    reads: bool
    size: int
    ms: Callable[[Shape, float], float]


def couple(
    name: str,
    path: PruningPath,
    saved: Sequence[float],
    levels: Sequence[Level],
    around: Mapping[str, Around],
) -> Coupled:
    """Couple heads or neurons with the layers around them.

    A layer that produces fewer rows than the heads read has KV heads, each for a group of heads. A layer whose rows or
    columns can't be split evenly among the heads keeps its levels, and so do blocks that lie in two heads.

    Args:
        name: of the heads or neurons.
        path: theirs, with one block for each head.
        saved: as in ``UnitGroup``.
        levels: theirs.
        around: layer -> how it depends on them.
    """
    every = torch.ones(path.gone.shape[1], dtype=torch.bool)
    masks = [every if level.block is None else path.live(level.number)[0] for level in levels]
    compensated = [0.0 if level.block is None or not saved else saved[level.number] for level in levels]
    width = len(every) * path.block[1]
    found: dict[str, tuple[tuple[Level, ...], ...]] = {name: tuple((level,) for level in levels)}
    for other, layer in around.items():
        heads, rest = divmod(layer.size * len(every), width)
        if rest or heads == 0 or len(every) % heads:
            found[other] = (tuple(layer.levels),) * len(masks)
        else:
            # A KV head stays open as long as any open head reads it.
            kept = [mask.unflatten(0, (heads, -1)).any(1) for mask in masks]
            found[other] = tuple(_left(layer, *pair) for pair in zip(kept, compensated, strict=True))
    return Coupled(name, found)


def _left(layer: Around, mask: Tensor, compensated: float) -> tuple[Level, ...]:
    """Return the levels of a layer with only the heads in ``mask`` open.

    compensated: the loss that its unpruned weights compensate for.
    """
    share = float(mask.float().mean())
    tables = {shape: _by_head(path, layer, len(mask)) for shape, path in layer.paths.items()}
    found = []
    for level in layer.levels:
        table = None if level.block is None else tables[level.block]
        if level.block is None:
            found.append(replace(level, ms=share * level.ms))
        elif table is None:
            found.append(level)
        else:
            live, loss = (values[level.number][mask] for values in table)
            density = float(live.mean()) if share else 0.0
            total = float(loss.sum()) + (compensated * (1 - density) ** _LESS_HELP if layer.reads else 0.0)
            found.append(replace(level, loss=total, ms=share * layer.ms(level.block, density)))
    return tuple(found)


def _by_head(path: PruningPath, layer: Around, heads: int) -> tuple[Tensor, Tensor] | None:
    """Return (share of blocks left, loss) [levels, heads]; None if blocks lie in two heads."""
    if layer.size % heads or layer.size // heads % path.block[layer.reads]:
        return None
    grid = (path.gone.T if layer.reads else path.gone).unflatten(0, (heads, -1)).flatten(1).long()
    levels = len(path.densities)
    gone = torch.stack([row.bincount(minlength=levels)[:levels] for row in grid])
    live = 1 - gone.cumsum(1).T / grid.shape[1]
    if not layer.reads:
        return live, path.row_losses.unflatten(1, (heads, -1)).sum(2)
    closed = 1 - live
    return live, path.row_losses.sum(1)[:, None] * closed / closed.sum(1, keepdim=True).clamp(min=1e-30)
