"""One layer, pruned at once and without training: which blocks go at each density, and what their loss costs.

Optimal Brain Surgeon for blocks (Hassibi and Stork, NeurIPS 1992; blocks as in OBC, Frantar and Alistarh, NeurIPS
2022). For a row group with live columns S the weights nearest to the dense output are ``V_S = (W A)_S (A_SS)^-1``,
and removing block b adds ``sum_i g_i v_ib ((A_SS^-1)_bb)^-1 v_ib^T`` to the loss, with A the inputs' Gram matrix and
g_i the sensitivity of output i. Blocks go in a few rounds, the cheapest of the whole layer first; after every round the
weights that stay are solved for again, exactly. Half-way through a round is a level as well, its loss interpolated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from l0compile.oneshot.curvature import Curvature
from l0compile.oneshot.least_squares import chosen, padded, stacked

ROUNDS = (0.8, 0.65, 0.52, 0.42, 0.34, 0.27, 0.2, 0.14, 0.09, 0.05)
_CHUNK_BYTES = 128e6


@dataclass(frozen=True)
class Path:
    """How a layer loses its blocks, level by level.

    block: (rows, columns). densities: share of the blocks left at each level, falling, the last one 0.
    losses: of the layer then, ``sum_i g_i E[((w_i - v_i) x)^2]``.
    gone: uint8 [ceil(out / rows), ceil(in / columns)], the level at which a block goes.
    """

    block: tuple[int, int]
    densities: tuple[float, ...]
    losses: tuple[float, ...]
    gone: Tensor

    def live(self, level: int) -> Tensor:
        """Bool, the shape of ``gone``: the blocks left at a level."""
        return self.gone > level


def prune(
    weight: Tensor, curvature: Curvature, block: tuple[int, int], rounds: Sequence[float] = ROUNDS
) -> Path:
    """The path of ``weight`` [out, in] float32 in blocks of that shape.

    rounds: densities in (0, 1), falling; each is solved for, and one is interpolated before it.
    """
    layer = _Layer.of(weight, curvature, block)
    live = torch.ones(layer.grid, dtype=torch.bool)
    gone = torch.full(layer.grid, 2 * len(rounds), dtype=torch.uint8)
    densities, losses = [], [0.0]
    costs = layer.round(live)[1].flatten()
    for number, density in enumerate(rounds):
        closing = costs.argsort(stable=True)[
            : max(0, int(live.sum()) - max(1, round(density * live.numel())))
        ]
        half = len(closing) // 2
        gone.view(-1)[closing[:half]] = 2 * number
        gone.view(-1)[closing[half:]] = 2 * number + 1
        densities.append((int(live.sum()) - half) / live.numel())
        live.view(-1)[closing] = False
        densities.append(int(live.sum()) / live.numel())
        predicted = costs[closing].clamp(min=0)
        share = float(predicted[:half].sum() / predicted.sum().clamp(min=1e-30))
        loss, costs = layer.round(live, last=number == len(rounds) - 1)
        # Rounding may make a round cheaper than the one before.
        loss = max(loss, losses[-1])
        losses += [losses[-1] + share * (loss - losses[-1]), loss]
        costs = costs.flatten().masked_fill(~live.view(-1), float("inf"))
    return Path(block, (*densities, 0.0), (*losses[1:], max(layer.loss(layer.weight), losses[-1])), gone)


@dataclass(frozen=True)
class _Layer:
    """weight: W by row group [groups, rows, in'], targets: W A the same; sensitivity [groups, rows]."""

    block: tuple[int, int]
    gram: Tensor
    weight: Tensor
    targets: Tensor
    sensitivity: Tensor

    @classmethod
    def of(cls, weight: Tensor, curvature: Curvature, block: tuple[int, int]) -> "_Layer":
        rows, cols = block
        out, width = weight.shape
        padding = -width % cols
        # Columns past the last are inputs of their own that no weight reads.
        gram = torch.eye(width + padding)
        gram[:width, :width] = curvature.damped
        groups = nn.functional.pad(weight, (0, padding, 0, -out % rows)).unflatten(0, (-1, rows))
        sensitivity = nn.functional.pad(curvature.sensitivity, (0, -out % rows)).unflatten(0, (-1, rows))
        return cls(block, gram, groups, groups @ gram, sensitivity)

    def loss(self, change: Tensor, part: Tensor | slice = slice(None)) -> float:
        """Of changing the weights of some row groups by that much. (The difference of two energies of weights would be
        lost in rounding.)"""
        return float((((change @ self.gram) * change).sum(2) * self.sensitivity[part]).double().sum())

    @property
    def grid(self) -> tuple[int, int]:
        return self.targets.shape[0], self.targets.shape[2] // self.block[1]

    def round(self, live: Tensor, last: bool = False) -> tuple[float, Tensor]:
        """(loss with these blocks left, what removing each of them would add [groups, blocks]).

        last: the loss alone is wanted.
        """
        costs = torch.full(self.grid, float("inf"))
        if bool(live.all()):
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.gram))[None]
            return 0.0, self._costs(self.targets @ inverse, inverse, self.sensitivity)
        total = 0.0
        counts = live.sum(1)
        order = counts.argsort()
        step = max(1, int(_CHUNK_BYTES / (4 * max(1, int(counts.max()) * self.block[1]) ** 2)))
        for start in range(0, len(order), step):
            part = order[start : start + step]
            index, extra = chosen(live[part])
            columns = _expanded(index, self.block[1])
            factors = torch.linalg.cholesky(stacked(padded(self.gram, extra * self.block[1]), columns))
            targets = nn.functional.pad(self.targets[part], (0, extra * self.block[1]))
            wanted = targets.gather(2, columns[:, None, :].expand(-1, targets.shape[1], -1))
            if last:
                weights = torch.cholesky_solve(wanted.mT, factors).mT
            else:
                inverse = torch.cholesky_inverse(factors)
                weights = wanted @ inverse
                added = self._costs(weights, inverse, self.sensitivity[part])
                wide = torch.full((len(part), self.grid[1] + extra), float("inf"))
                costs[part] = wide.scatter_(1, index, added)[:, : self.grid[1]]
            left = torch.zeros_like(targets).scatter_(2, columns[:, None, :].expand_as(weights), weights)
            total += self.loss(self.weight[part] - left[..., : len(self.gram)], part)
        return total, costs

    def _costs(self, weights: Tensor, inverse: Tensor, sensitivity: Tensor) -> Tensor:
        """What removing a block adds [groups, blocks]; weights [groups, rows, in], inverse [groups or 1, in, in]."""
        cols = self.block[1]
        if cols == 1:
            squares = weights.square() / inverse.diagonal(dim1=1, dim2=2)[:, None, :]
            return torch.einsum("gri,gr->gi", squares, sensitivity)
        blocks = inverse.unflatten(1, (-1, cols)).unflatten(3, (-1, cols)).diagonal(dim1=1, dim2=3)
        # [g, c, c, b] -> the inverse of each diagonal block
        inner = torch.cholesky_inverse(torch.linalg.cholesky(blocks.permute(0, 3, 1, 2)))
        parts = weights.unflatten(2, (-1, cols))
        energy = torch.einsum("grbc,gbcd,grbd->gbr", parts, inner.expand(len(weights), -1, -1, -1), parts)
        return torch.einsum("gbr,gr->gb", energy, sensitivity)


def _expanded(blocks: Tensor, cols: int) -> Tensor:
    """Columns of blocks [g, b] -> [g, b * cols]."""
    return (blocks[:, :, None] * cols + torch.arange(cols)).flatten(1)
