"""Prune one layer without training: which blocks go at each density, and what that costs.

Optimal Brain Surgeon for blocks (Hassibi and Stork, NeurIPS 1992; blocks as in OBC, Frantar and Alistarh, NeurIPS
2022). For a row group with live columns S, the weights nearest to the dense output are ``V_S = (W A)_S (A_SS)^-1``,
and removing block b adds ``sum_i g_i v_ib ((A_SS^-1)_bb)^-1 v_ib^T`` to the loss, with A the Gram matrix of the
inputs and g_i the sensitivity of output i. Blocks go in a few rounds, the cheapest of the layer first. After every
round the remaining weights are solved for exactly. The middle of each round is a level too, with an interpolated
loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from l0compile.studies.pruning.curvature import Curvature
from l0compile.studies.pruning.least_squares import chosen, padded, stacked

ROUNDS = (0.8, 0.65, 0.52, 0.42, 0.34, 0.27, 0.2, 0.14, 0.09, 0.05)
_CHUNK_BYTES = 128e6
# Below this share of live blocks, solving for the live ones is less work than solving for the closed ones.
_BY_LIVE = 0.6
_NEVER = 255


@dataclass(frozen=True)
class PruningPath:
    """How a layer loses its blocks, level by level.

    block: (rows, columns). densities: share of blocks left at each level, falling to 0. row_losses: the part of each
    row of blocks in the layer's loss ``sum_i g_i E[((w_i - v_i) x)^2]``, float64 [levels, ceil(out / rows)]. gone:
    the level at which each block goes, uint8 [ceil(out / rows), ceil(in / columns)].
    """

    block: tuple[int, int]
    densities: tuple[float, ...]
    row_losses: Tensor
    gone: Tensor

    @cached_property
    def losses(self) -> tuple[float, ...]:
        """The loss of the layer at each level."""
        return tuple(self.row_losses.sum(1).tolist())

    def live(self, level: int) -> Tensor:
        """Return the blocks left at a level, as bool in the shape of ``gone``."""
        return self.gone > level


def prune(
    weight: Tensor, curvature: Curvature, block: tuple[int, int], rounds: Sequence[float] = ROUNDS
) -> PruningPath:
    """Prune a layer in blocks of one shape.

    Blocks that are zero already stay zero; the first level is then the weight as it is.

    Args:
        weight: [out, in], float32.
        curvature: of the layer.
        block: (rows, columns).
        rounds: falling densities in (0, 1); each is solved for, and one level is interpolated before it.
    """
    layer = _PaddedLayer.of(weight, curvature, block)
    live = layer.live()
    gone = torch.where(live, torch.tensor(_NEVER, dtype=torch.uint8), torch.tensor(0, dtype=torch.uint8))
    start = int(live.sum()) / live.numel()
    none = torch.zeros(len(live), dtype=torch.float64)
    densities, losses = ([], [none]) if start == 1.0 else ([start], [none, none])
    rounds = [density for density in rounds if density < start]
    costs = layer.round(live)[1].flatten() if rounds else torch.empty(0)
    for density in rounds:
        closing = costs.argsort(stable=True)[
            : max(0, int(live.sum()) - max(1, round(density * live.numel())))
        ]
        half = len(closing) // 2
        gone.view(-1)[closing[:half]] = len(densities)
        gone.view(-1)[closing[half:]] = len(densities) + 1
        densities.append((int(live.sum()) - half) / live.numel())
        live.view(-1)[closing] = False
        densities.append(int(live.sum()) / live.numel())
        predicted = costs[closing].clamp(min=0)
        share = float(predicted[:half].sum() / predicted.sum().clamp(min=1e-30))
        loss, costs = layer.round(live)
        loss = _later(losses[-1], loss)
        losses += [losses[-1] + share * (loss - losses[-1]), loss]
        costs = costs.flatten()
    gone[gone == _NEVER] = len(densities)
    losses.append(_later(losses[-1], layer.loss(layer.weight)))
    return PruningPath(block, (*densities, 0.0), torch.stack(losses[1:]), gone)


def _later(before: Tensor, loss: Tensor) -> Tensor:
    """Return the losses of rows at the next level, no less in sum than before, whatever rounding does."""
    return loss if loss.sum() >= before.sum() else before


@dataclass(frozen=True)
class _PaddedLayer:
    """A layer, padded to whole blocks.

    gram: A [in', in']. inverse: A^-1 [in', in']. weight: W by row group [groups, rows, in']. targets: W A likewise.
    sensitivity: [groups, rows].
    """

    block: tuple[int, int]
    gram: Tensor
    inverse: Tensor
    weight: Tensor
    targets: Tensor
    sensitivity: Tensor

    @classmethod
    def of(cls, weight: Tensor, curvature: Curvature, block: tuple[int, int]) -> "_PaddedLayer":
        rows, cols = block
        out, width = weight.shape
        padding = -width % cols
        # The padding columns are inputs of their own that no weight reads.
        gram, inverse = padded(curvature.damped, padding), padded(curvature.inverse, padding)
        groups = nn.functional.pad(weight, (0, padding, 0, -out % rows)).unflatten(0, (-1, rows))
        sensitivity = nn.functional.pad(curvature.sensitivity, (0, -out % rows)).unflatten(0, (-1, rows))
        return cls(block, gram, inverse, groups, groups @ gram, sensitivity)

    def loss(self, change: Tensor, part: Tensor | slice = slice(None)) -> Tensor:
        """Return the loss of changing the weights of some row groups by ``change``, float64 [g].

        The difference of two losses would be lost in rounding.
        """
        return (((change @ self.gram) * change).sum(2) * self.sensitivity[part]).double().sum(1)

    def live(self) -> Tensor:
        """Return the blocks that are not zero already, as bool [groups, blocks]."""
        return self.weight.unflatten(2, (-1, self.block[1])).ne(0).any(3).any(1)

    def round(self, live: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses with these blocks left [groups], and what removing each would add [groups, blocks]."""
        costs = torch.full(live.shape, float("inf"))
        losses = torch.zeros(len(live), dtype=torch.float64)
        counts = live.sum(1)
        order = counts.argsort()
        few = counts[order] < _BY_LIVE * live.shape[1]
        for some, solve in ((order[few], self._from_live), (order[~few], self._from_closed)):
            step = max(1, int(_CHUNK_BYTES / (4 * self.gram.shape[0] ** 2)))
            for part in some.split(step) if len(some) else ():
                weights, inner = solve(part, live[part])
                costs[part] = self._costs(weights, inner, part).masked_fill(~live[part], float("inf"))
                losses[part] = self.loss(self.weight[part] - weights, part)
        return losses, costs

    def _from_live(self, part: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
        """Solve row groups ``part`` by the inverse of their live columns.

        Returns:
            The weights [g, rows, in], and the diagonal blocks of (A_SS)^-1 [g, blocks, cols, cols].
        """
        index, extra = chosen(live)
        columns = _expanded(index, self.block[1])
        systems = stacked(padded(self.gram, extra * self.block[1]), columns)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(systems))
        targets = nn.functional.pad(self.targets[part], (0, extra * self.block[1]))
        places = columns[:, None, :].expand(-1, targets.shape[1], -1)
        weights = torch.zeros_like(targets).scatter_(2, places, targets.gather(2, places) @ inverse)
        inner = torch.eye(self.block[1]).repeat(len(part), live.shape[1] + extra, 1, 1)
        inner.scatter_(
            1, index[:, :, None, None].expand(-1, -1, *inner.shape[2:]), _diagonal(inverse, self.block[1])
        )
        return weights[..., : len(self.gram)], inner[:, : live.shape[1]]

    def _from_closed(self, part: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
        """Solve as ``_from_live`` does, by a correction for the closed columns.

        With C closed and B = A^-1: ``V = W - W_C (B_CC)^-1 B_C`` and ``(A_SS)^-1 = B_SS - B_SC (B_CC)^-1 B_CS``.
        """
        cols, size = self.block[1], len(self.gram)
        index, extra = chosen(~live)
        columns, inverse = _expanded(index, cols), padded(self.inverse, extra * cols)
        factors = torch.linalg.cholesky(stacked(inverse, columns))
        across = torch.linalg.solve_triangular(factors, inverse[columns][..., :size], upper=False)
        weight = nn.functional.pad(self.weight[part], (0, extra * cols))
        closing = weight.gather(2, columns[:, None, :].expand(-1, weight.shape[1], -1))
        weights = (
            self.weight[part] - torch.linalg.solve_triangular(factors, closing.mT, upper=False).mT @ across
        )
        inner = _diagonal(self.inverse[None], cols) - _gram_blocks(across, cols)
        shut = ~live.repeat_interleave(cols, 1)
        # What is left of closed blocks is rounding.
        return weights.masked_fill(shut[:, None], 0.0), torch.where(
            live[:, :, None, None], inner, torch.eye(cols)
        )

    def _costs(self, weights: Tensor, inner: Tensor, part: Tensor) -> Tensor:
        """Return what removing each block adds to the loss [groups, blocks]."""
        parts, sensitivity = weights.unflatten(2, (-1, self.block[1])), self.sensitivity[part]
        if self.block[1] == 1:
            return torch.einsum("grb,gr->gb", parts[..., 0].square() / inner[:, None, :, 0, 0], sensitivity)
        own = torch.cholesky_inverse(torch.linalg.cholesky(inner))
        return torch.einsum("grbc,gbcd,grbd,gr->gb", parts, own, parts, sensitivity)


def _expanded(blocks: Tensor, cols: int) -> Tensor:
    """Return the columns [g, b * cols] of blocks [g, b]."""
    return (blocks[:, :, None] * cols + torch.arange(cols)).flatten(1)


def _gram_blocks(x: Tensor, cols: int) -> Tensor:
    """Return the diagonal blocks [g, n / cols, cols, cols] of ``x^T x`` for x [g, k, n]."""
    if cols == 1:
        return x.square().sum(1)[:, :, None, None]
    parts = x.unflatten(2, (-1, cols))
    return torch.einsum("gkbc,gkbd->gbcd", parts, parts)


def _diagonal(matrix: Tensor, cols: int) -> Tensor:
    """Return the diagonal blocks [g, n / cols, cols, cols] of matrices [g, n, n]."""
    blocks = matrix.unflatten(1, (-1, cols)).unflatten(3, (-1, cols))
    return blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
