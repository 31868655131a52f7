"""Layers that go with heads or neurons: what is left of them, in time and in loss, where some of those are closed.

A head that is closed takes with it the rows that make it, in the layers that feed it, and the columns that read it. So
the levels of these layers are others for each number of heads. Blocks in what is gone take no time. The loss of rows is
known row by row; that of columns is counted by the blocks that are pruned where heads are left. The weights that read
other heads make up for those that are closed, the less the fewer they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from l0compile.pruning.level import Level, Shape
from l0compile.pruning.prune import Path

# Of what weights make up for, the share (1 - density) ** this is lost where they are pruned as well. Measured on the
# attention outputs of MiniLM in blocks of 4x1, heads 0.92 to 0.08 and densities 0.65 to 0.27: within 5 % of the loss of
# both together, where their sum is up to 30 % too low.
_LESS_HELP = 1.5


@dataclass(frozen=True)
class Coupled:
    """The heads or neurons called ``part`` and the layers that go with them.

    levels: of each layer, and of the part itself, for each level of the part in turn.
    """

    part: str
    levels: Mapping[str, tuple[tuple[Level, ...], ...]]

    @property
    def cases(self) -> int:
        """How many levels the part has."""
        return len(self.levels[self.part])


@dataclass(frozen=True)
class Around:
    """A layer that goes with a part. paths, levels: of it alone. reads: it reads the part, in its columns; otherwise it
    makes it, in its rows. size: how many columns, or rows. ms: what it takes in blocks of a shape at a density."""

    paths: Mapping[Shape, Path]
    levels: Sequence[Level]
    reads: bool
    size: int
    ms: Callable[[Shape, float], float]


def couple(
    name: str, part: Path, saved: Sequence[float], levels: Sequence[Level], around: Mapping[str, Around]
) -> Coupled:
    """The part ``name`` with the layers around it.

    Args:
        part: its path, one block for each head. saved: as of ``Part``. levels: its own. around: by name. A layer that
            makes fewer rows than heads read has KV heads, each for a group of heads. Where a head's share of a layer is
            no whole number, it stays as it is, and so do its blocks where they lie in two heads.
    """
    every = torch.ones(part.gone.shape[1], dtype=torch.bool)
    masks = [every if level.block is None else part.live(level.number)[0] for level in levels]
    made_up = [0.0 if level.block is None or not saved else saved[level.number] for level in levels]
    width = len(every) * part.block[1]
    found: dict[str, tuple[tuple[Level, ...], ...]] = {name: tuple((level,) for level in levels)}
    for other, layer in around.items():
        heads, rest = divmod(layer.size * len(every), width)
        if rest or heads == 0 or len(every) % heads:
            found[other] = (tuple(layer.levels),) * len(masks)
        else:
            # A KV head is left as long as any head reads it.
            kept = [mask.unflatten(0, (heads, -1)).any(1) for mask in masks]
            found[other] = tuple(_left(layer, *pair) for pair in zip(kept, made_up, strict=True))
    return Coupled(name, found)


def _left(layer: Around, mask: Tensor, made_up: float) -> tuple[Level, ...]:
    """The levels of a layer with only these heads. made_up: what its weights make up for, all of them left."""
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
            total = float(loss.sum()) + (made_up * (1 - density) ** _LESS_HELP if layer.reads else 0.0)
            found.append(replace(level, loss=total, ms=share * layer.ms(level.block, density)))
    return tuple(found)


def _by_head(path: Path, layer: Around, heads: int) -> tuple[Tensor, Tensor] | None:
    """(share of its blocks left, loss) [levels, heads]; None where blocks lie in two heads."""
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
